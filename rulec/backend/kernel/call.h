// What one call of a kernel is given, and what one network sees of it.
struct Call {
  const int64_t* lead;  // population, tasks, replicas
  const int64_t* moves;  // four numbers each
  int64_t count;
  double begin;  // the step counter before the first step
  const int64_t* stride;
  const real* const* in;
  const real* const* state;
  const real* const* cotangent;
  real* const* out;
  real* tape;  // of all networks, or of all threads
  int64_t tape_size;
  int shared;  // whether a thread's networks use one tape after the other
  real* scratch;
  int inner;  // threads for one product
};

struct Net {
  const Call& call;
  const int64_t number;
  const real* in[INPUTS];  // genome entries, the data of a step, and those of the prediction

  Net(const Call& call, int64_t number) : call(call), number(number) {
    const int64_t* lead = call.lead;
    const int64_t r = number % lead[2], t = number / lead[2] % lead[1], p = number / lead[2] / lead[1];
    for (int k = 0; k < INPUTS; ++k) {
      const int64_t* stride = call.stride + 4 * k;
      in[k] = call.in[k] + p * stride[0] + t * stride[1] + r * stride[2];
    }
  }
};

