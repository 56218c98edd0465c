// What one call of a kernel is given, and what one network sees of it.
struct Call {
  const int64_t* lead;  // population, tasks, replicas
  const int64_t* moves;  // four numbers each
  int64_t count;
  double begin;  // the step counter before the first step
  const int64_t* stride;
  const real* const* in;
  const real* const* state;
  const int64_t* state_stride;  // along population, tasks and replicas; 0 where all begin alike
  const real* const* cotangent;
  real* const* out;
  const int64_t* back_stride;  // of what comes back, along threads, population, tasks and replicas
  int entropy;  // whether predictions are judged by their cross entropy, and not by their mean square
  real* tape;  // of all networks, or of all threads
  int64_t tape_size;
  int shared;  // whether a thread's networks use one tape after the other
  real* scratch;
  int inner;  // threads for one product
};

struct Net {
  const Call& call;
  const int64_t number, r, t, p;
  const real* in[INPUTS];  // genome entries, the data of a step, and those of the prediction
  const real* state[STATE_COUNT + 1];

  Net(const Call& call, int64_t number)
      : call(call), number(number), r(number % call.lead[2]), t(number / call.lead[2] % call.lead[1]),
        p(number / call.lead[2] / call.lead[1]) {
    for (int k = 0; k < INPUTS; ++k) in[k] = call.in[k] + along(call.stride + 4 * k);
    for (int k = 0; k < STATE_COUNT; ++k) state[k] = call.state[k] + along(call.state_stride + 3 * k);
  }

  int64_t along(const int64_t* stride) const { return p * stride[0] + t * stride[1] + r * stride[2]; }

  // Add what came back for argument k, if anybody wants it.
  void give(int k, int64_t share, const real* value, int64_t count) const {
    const int64_t* stride = call.back_stride + 4 * k;
    if (call.out[k]) add(call.out[k] + share * stride[0] + along(stride + 1), value, count);
  }
};
