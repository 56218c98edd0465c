// What every generated kernel ends with: the networks, and for each the list of moves that the caller made up.
// The sizes and the functions that begin with `net_` are generated before.

enum Move { START, ADVANCE, RECORD, PREDICT, GUESS, FINISH, PULL_PREDICTION, GIVEN, PULL, RETURN, JUDGE };

// Return the mean square distance of predictions, and put the slope of it in their place.
static double mean_square(real* guess, const real* answer) {
  double total = 0;
  for (int64_t k = 0; k < GUESSED; ++k) {
    const double apart = double(guess[k]) - double(answer[k]);
    total += apart * apart;
    guess[k] = real(2 * apart / GUESSED);
  }
  return total / GUESSED;
}

// The same of the mean cross entropy.
static double cross_entropy(real* guess, const real* answer) {
  const int64_t samples = GUESSED / WIDTH;
  double total = 0;
  for (int64_t n = 0; n < samples; ++n, guess += WIDTH, answer += WIDTH) {
    double most = guess[0], sum = 0, weight = 0;
    for (int64_t k = 1; k < WIDTH; ++k) most = guess[k] > most ? guess[k] : most;
    for (int64_t k = 0; k < WIDTH; ++k) sum += std::exp(double(guess[k]) - most);
    for (int64_t k = 0; k < WIDTH; ++k) weight += answer[k];
    const double scale = most + std::log(sum);
    for (int64_t k = 0; k < WIDTH; ++k) {
      const double share = double(guess[k]) - scale;
      total -= share * answer[k];
      guess[k] = real((std::exp(share) * weight - answer[k]) / samples);
    }
  }
  return total / samples;
}

static void run_nets(const Call& call, int64_t share, int64_t first, int64_t last) {
  const int threads = use_threads(call.inner);
  for (int64_t number = first; number < last; ++number) {
    const Net net(call, number);
    real *back = call.scratch + share * SCRATCH, *before = back + STATES, *slope = before + STATES, *sum = slope + SLOPES;
    real *guess = sum + GRADIENT, *one = guess + GUESSES, *other = one + STATES;
    real *lost = other + STATES, *work = lost + RESIDUALS;
    real* const tape = call.tape + (call.shared ? share : number) * call.tape_size;
    std::memset(sum, 0, GRADIENT * sizeof(real));
    for (const int64_t* move = call.moves; move < call.moves + 4 * call.count; move += 4) {
      const int64_t s0 = move[1], s1 = move[2];
      real* const at = tape + move[3];
      switch (move[0]) {
        case START: net_start(net, at); break;
        case ADVANCE: {  // to the place behind
          const real* now = at;
          for (int64_t s = s0; s < s1; ++s) {
            real* next = s == s1 - 1 ? at + STATES : now == one ? other : one;
            net_step(net, s, now, next, lost, work);
            now = next;
          }
          break;
        }
        case RECORD:  // each entry is a state and what its step leaves for the way back
          for (int64_t s = s0; s < s1; ++s) {
            real* now = at + (s - s0) * ENTRY;
            net_step(net, s, now, now + ENTRY, now + STATES, work);
          }
          break;
        case PREDICT: net_predict(net, s0, at, call.out[0] + number * GUESSED, at + STATES, work); break;
        case GUESS: net_predict(net, s0, at, guess, at + STATES, work); break;
        case FINISH: net_finish(net, at); break;
        case PULL_PREDICTION: net_pull_prediction(net, s0, at, at + STATES, call.cotangent[0] + number * GUESSED, back, slope, sum, work); break;
        case GIVEN: net_given(net, back); break;
        case PULL:
          for (int64_t s = s1 - 1; s >= s0; --s) {
            const real* now = at + (s - s0) * ENTRY;
            net_pull_step(net, s, now, now + STATES, back, before, slope, sum, work);
            if (MOVES_BACK) std::swap(back, before);
          }
          break;
        case RETURN: net_return(net, share, back, sum); break;
        case JUDGE:  // the prediction, its loss, and the way back through both
          net_predict(net, s0, at, guess, at + STATES, work);
          std::memcpy(call.out[JUDGED] + number * GUESSED, guess, GUESSED * sizeof(real));
          call.out[JUDGED + 1][number] = real((call.entropy ? cross_entropy : mean_square)(guess, net.in[ANSWERS]));
          net_pull_prediction(net, s0, at, at + STATES, guess, back, slope, sum, work);
          break;
      }
    }
  }
  use_threads(threads);
}

// How many numbers a thread needs besides its tape, and those of a state, of what a step leaves behind, and of what the prediction does.
extern "C" void sizes(int64_t* found) {
  const int64_t known[] = {SCRATCH, STATES, ENTRY - STATES, RESIDUALS};
  std::copy(known, known + 4, found);
}

// Each thread takes a share of the networks.
extern "C" void unroll(
    int threads, const int64_t* lead, const int64_t* moves, int64_t count, double begin, const real* const* in,
    const int64_t* stride, const real* const* state, const int64_t* state_stride, const real* const* cotangent,
    real* const* out, const int64_t* back_stride, int entropy, real* tape, int64_t tape_size, int shared, real* scratch) {
  const int64_t nets = lead[0] * lead[1] * lead[2], shares = threads < nets ? threads : nets;
  const Call call{lead, moves, count, begin, stride, in, state, state_stride, cotangent, out,
                  back_stride, entropy, tape, tape_size, shared, scratch, int(threads / shares)};
  std::vector<std::thread> helpers;
  for (int64_t k = 1; k < shares; ++k)
    helpers.emplace_back(run_nets, std::cref(call), k, nets * k / shares, nets * (k + 1) / shares);
  run_nets(call, 0, 0, nets / shares);
  for (auto& helper : helpers) helper.join();
}
