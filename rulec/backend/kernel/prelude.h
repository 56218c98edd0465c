// What every generated kernel begins with. `real` is defined before.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

static inline real square(real a) { return a * a; }
static inline real sign(real a) { return a != a ? a : real(a > 0) - real(a < 0); }
// A function, so that both values are computed and loops become vectors.
static inline real choose(real condition, real a, real b) { return condition != real(0) ? a : b; }
// In two steps, so that loops become vectors.
static inline real upper(real a, real b) { const real top = a > b ? a : b; return a != a ? a : top; }
static inline real lower(real a, real b) { const real low = a < b ? a : b; return a != a ? a : low; }

// The exponential in single precision without a call, so that loops become vectors: 2^n times a polynomial for what is left of
// the exponent, to about one unit in the last place.
static inline float exponential(float x) {
  float bounded = x < -103.97208f ? -103.97208f : x > 88.72284f ? 88.72284f : x;
  float n = std::nearbyint(bounded * 1.44269504f);
  float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t whole = int32_t(n), half = whole >> 1;  // two factors, so that neither leaves the normal numbers
  int32_t one = (half + 127) << 23, two = (whole - half + 127) << 23;
  float f, g;
  std::memcpy(&f, &one, 4);
  std::memcpy(&g, &two, 4);
  float value = p * f * g;
  value = x > 88.72284f ? INFINITY : x < -103.97208f ? 0.0f : value;
  return x != x ? x : value;
}
static inline double exponential(double x) { return std::exp(x); }

// The hyperbolic tangent in single precision: a quotient of polynomials, to a few units in the last place; beyond +-7.9 it is one.
static inline float hyperbolic_tangent(float x) {
  float bounded = x < -7.90531110763549805f ? -7.90531110763549805f : x > 7.90531110763549805f ? 7.90531110763549805f : x;
  float s = bounded * bounded;
  float p = -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  float q = 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return bounded * p / q;
}
static inline double hyperbolic_tangent(double x) { return std::tanh(x); }

static inline real logistic(real x) { return real(1) / (real(1) + exponential(-x)); }
static inline real softplus(real x, real beta, real limit) {
  return x * beta > limit ? x : std::log1p(exponential(x * beta)) / beta;
}
static inline real softplus_slope(real x, real beta, real limit) {
  real z = exponential(x * beta);
  return x * beta > limit ? real(1) : z / (z + real(1));
}

static inline void add(real* to, const real* from, int count) {
  for (int k = 0; k < count; ++k) to[k] += from[k];
}

// Large products are those of the library that PyTorch brings along; the caller hands in its functions.
typedef void (*Gemm)(const char*, const char*, const int*, const int*, const int*, const real*, const real*, const int*,
                     const real*, const int*, const real*, real*, const int*);
static Gemm gemm = nullptr;
static int (*set_threads)(int) = nullptr;
extern "C" void use_library(void* products, void* threads) {
  gemm = reinterpret_cast<Gemm>(products);
  set_threads = reinterpret_cast<int (*)(int)>(threads);
}
static inline int use_threads(int count) { return set_threads ? set_threads(count) : 0; }

// c = beta c + a b, row by row: (rows, inner) by (inner, columns). Of each matrix one stride is 1; what lies between neighbours
// along the other axis is its `step`, and `turned` says that rows lie side by side. The library counts columns first.
static inline void product(int rows, int inner, int columns, const real* a, char a_turned, int a_step, const real* b,
                           char b_turned, int b_step, real* c, int c_step, real beta) {
  const real one = 1;
  gemm(&b_turned, &a_turned, &columns, &rows, &inner, &one, b, &b_step, a, &a_step, &beta, c, &c_step);
}
