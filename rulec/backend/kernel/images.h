// Convolutions and pools of one network. Images are planes of height by width; patches are laid out as the columns of a matrix, so
// that a convolution is a product. A `Window` says how the patches lie on an image.

struct Window {
  int height, width;  // of the image
  int rows, columns;  // of a patch
  int down, right;  // strides
  int top, left;  // padding
  int apart_down, apart_right;  // dilation
  int high, wide;  // how many patches there are

  bool is_image() const {  // whether patches are single numbers, one after the other
    return rows == 1 && columns == 1 && down == 1 && right == 1 && top == 0 && left == 0;
  }
};

// The patches of so many planes: (planes * rows * columns, high * wide).
static void unfold(const real* image, int planes, const Window& w, real* patches) {
  for (int c = 0; c < planes; ++c)
    for (int a = 0; a < w.rows; ++a)
      for (int b = 0; b < w.columns; ++b)
        for (int y = 0; y < w.high; ++y, patches += w.wide) {
          const int row = y * w.down - w.top + a * w.apart_down, begin = b * w.apart_right - w.left;
          if (row < 0 || row >= w.height) {
            std::memset(patches, 0, w.wide * sizeof(real));
            continue;
          }
          const real* from = image + (int64_t(c) * w.height + row) * w.width + begin;
          for (int x = 0; x < w.wide; ++x) {
            const int column = begin + x * w.right;
            patches[x] = column < 0 || column >= w.width ? real(0) : from[x * w.right];
          }
        }
}

// Add patches up where they lie on the image.
static void fold(const real* patches, int planes, const Window& w, real* image) {
  std::memset(image, 0, size_t(planes) * w.height * w.width * sizeof(real));
  for (int c = 0; c < planes; ++c)
    for (int a = 0; a < w.rows; ++a)
      for (int b = 0; b < w.columns; ++b)
        for (int y = 0; y < w.high; ++y, patches += w.wide) {
          const int row = y * w.down - w.top + a * w.apart_down, begin = b * w.apart_right - w.left;
          if (row < 0 || row >= w.height) continue;
          real* to = image + (int64_t(c) * w.height + row) * w.width + begin;
          for (int x = 0; x < w.wide; ++x) {
            const int column = begin + x * w.right;
            if (column >= 0 && column < w.width) to[x * w.right] += patches[x];
          }
        }
}

// c = beta c + a b by the library, or by loops where there is none or the product is small.
static void multiply(int rows, int inner, int columns, const real* a, char a_turned, int a_step, const real* b, char b_turned,
                     int b_step, real* c, int c_step, real beta) {
  if (gemm && int64_t(rows) * inner * columns > 4096)
    return product(rows, inner, columns, a, a_turned, a_step, b, b_turned, b_step, c, c_step, beta);
  for (int m = 0; m < rows; ++m) {
    real* to = c + int64_t(m) * c_step;
    for (int n = 0; n < columns; ++n) to[n] *= beta == 0 ? real(0) : beta;
    if (beta == 0) std::memset(to, 0, columns * sizeof(real));
    for (int k = 0; k < inner; ++k) {
      const real left = a_turned == 'T' ? a[int64_t(k) * a_step + m] : a[int64_t(m) * a_step + k];
      if (b_turned == 'T')
        for (int n = 0; n < columns; ++n) to[n] += left * b[int64_t(n) * b_step + k];
      else
        for (int n = 0; n < columns; ++n) to[n] += left * b[int64_t(k) * b_step + n];
    }
  }
}

// Of each convolution: `count` samples; `groups` of `narrow` planes on the side of the image (whose patches are taken) and `wide`
// planes on the other side; kernel (groups * wide, narrow, rows, columns); image (count, groups * narrow, height, width); other
// (count, groups * wide, high, wide of the window).
struct Convolution {
  int count, groups, narrow, wide;
  Window window;

  int area() const { return window.height * window.width; }
  int places() const { return window.high * window.wide; }
  int reach() const { return narrow * window.rows * window.columns; }

  template <class Work>
  void each(Work work) const {
    for (int n = 0; n < count; ++n)
      for (int g = 0; g < groups; ++g)
        work((int64_t(n) * groups + g) * narrow * area(), (int64_t(n) * groups + g) * wide * places(), int64_t(g) * wide * reach());
  }
  const real* patches(const real* image, real* room) const {
    if (window.is_image()) return image;
    unfold(image, narrow, window, room);
    return room;
  }
  // other = kernel * image, added to what is there if `begun`
  void across(const real* kernel, const real* image, real* other, bool begun, real* room) const {
    each([&](int64_t i, int64_t o, int64_t k) {
      multiply(wide, reach(), places(), kernel + k, 'N', reach(), patches(image + i, room), 'N', places(), other + o, places(),
               real(begun));
    });
  }
  // image = transposed kernel * other
  void back(const real* kernel, const real* other, real* image, real* room) const {
    each([&](int64_t i, int64_t o, int64_t k) {
      real* to = window.is_image() ? image + i : room;
      multiply(reach(), wide, places(), kernel + k, 'T', reach(), other + o, 'N', places(), to, places(), 0);
      if (to == room) fold(room, narrow, window, image + i);
    });
  }
  // kernel = products of other and image, added up over samples
  void between(const real* other, const real* image, real* kernel, real* room) const {
    std::memset(kernel, 0, size_t(groups) * wide * reach() * sizeof(real));
    each([&](int64_t i, int64_t o, int64_t k) {
      multiply(wide, places(), reach(), other + o, 'N', places(), patches(image + i, room), 'T', places(), kernel + k, reach(), 1);
    });
  }
};

// How many numbers of a patch at (y, x) count in a mean: all, or those that lie on the image.
static inline real counted(const Window& w, int y, int x, bool padding, int divisor) {
  if (divisor) return real(divisor);
  int top = y * w.down - w.top, left = x * w.right - w.left;
  int bottom = std::min(top + w.rows, w.height + w.top), right = std::min(left + w.columns, w.width + w.left);
  if (padding) return real((bottom - top) * (right - left));
  top = std::max(top, 0), left = std::max(left, 0);
  return real((std::min(bottom, w.height) - top) * (std::min(right, w.width) - left));
}

static void mean_pool(const real* image, int planes, const Window& w, bool padding, int divisor, real* out) {
  for (int c = 0; c < planes; ++c, image += w.height * w.width)
    for (int y = 0; y < w.high; ++y)
      for (int x = 0; x < w.wide; ++x) {
        real total = 0;
        for (int a = std::max(0, w.top - y * w.down); a < w.rows && y * w.down - w.top + a < w.height; ++a)
          for (int b = std::max(0, w.left - x * w.right); b < w.columns && x * w.right - w.left + b < w.width; ++b)
            total += image[(y * w.down - w.top + a) * w.width + x * w.right - w.left + b];
        *out++ = total / counted(w, y, x, padding, divisor);
      }
}

static void mean_pool_back(const real* slope, int planes, const Window& w, bool padding, int divisor, real* image) {
  std::memset(image, 0, size_t(planes) * w.height * w.width * sizeof(real));
  for (int c = 0; c < planes; ++c, image += w.height * w.width)
    for (int y = 0; y < w.high; ++y)
      for (int x = 0; x < w.wide; ++x) {
        const real each = *slope++ / counted(w, y, x, padding, divisor);
        for (int a = std::max(0, w.top - y * w.down); a < w.rows && y * w.down - w.top + a < w.height; ++a)
          for (int b = std::max(0, w.left - x * w.right); b < w.columns && x * w.right - w.left + b < w.width; ++b)
            image[(y * w.down - w.top + a) * w.width + x * w.right - w.left + b] += each;
      }
}

// The largest number of each patch, and where on the image it lies; the first of several, and the last that is not a number.
static void largest(const real* image, int planes, const Window& w, real* values, real* places) {
  for (int c = 0; c < planes; ++c, image += w.height * w.width)
    for (int y = 0; y < w.high; ++y)
      for (int x = 0; x < w.wide; ++x) {
        real top = -INFINITY;
        int place = -1;
        for (int a = 0; a < w.rows; ++a)
          for (int b = 0; b < w.columns; ++b) {
            const int row = y * w.down - w.top + a * w.apart_down, column = x * w.right - w.left + b * w.apart_right;
            if (row < 0 || row >= w.height || column < 0 || column >= w.width) continue;
            const real value = image[row * w.width + column];
            if (place < 0 || value > top || value != value) top = value, place = row * w.width + column;
          }
        if (values) *values++ = top;
        if (places) *places++ = real(place);
      }
}
