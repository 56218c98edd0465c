// Convolutions and pools of one network. Images are planes of height by width; patches are laid out as the columns of a matrix, so
// that a convolution is a product. A `Window` says how the patches lie on an image.

// Sizes are constants where these are called: written out in place, loops of a few turns come out straight.
#define INLINED __attribute__((always_inline))
#define ALWAYS INLINED inline

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

// Of one line of patches, those whose number in column `begin + x * right` lies on the image: from `first` up to `last`.
struct Inside {
  int first, last;
  Inside(const Window& w, int begin) {
    const int right = w.width - begin;  // how far the image reaches
    first = begin < 0 ? std::min(w.wide, (w.right - 1 - begin) / w.right) : 0;
    last = right <= 0 ? 0 : std::min(w.wide, (right + w.right - 1) / w.right);
    last = std::max(first, last);
  }
};

// The patches of so many planes, (planes * rows * columns, high * wide), rows `step` numbers apart.
static ALWAYS void unfold(const real* image, int planes, const Window& w, real* patches, int64_t step) {
  for (int c = 0; c < planes; ++c)
    for (int a = 0; a < w.rows; ++a)
      for (int b = 0; b < w.columns; ++b, patches += step) {
        const int begin = b * w.apart_right - w.left;
        const Inside inside(w, begin);
        for (int y = 0; y < w.high; ++y) {
          const int row = y * w.down - w.top + a * w.apart_down;
          real* to = patches + int64_t(y) * w.wide;
          if (row < 0 || row >= w.height) {
            std::fill(to, to + w.wide, real(0));
            continue;
          }
          const real* from = image + (int64_t(c) * w.height + row) * w.width + begin;
          std::fill(to, to + inside.first, real(0));
          if (w.right == 1)
            for (int x = inside.first; x < inside.last; ++x) to[x] = from[x];
          else
            for (int x = inside.first; x < inside.last; ++x) to[x] = from[x * w.right];
          std::fill(to + inside.last, to + w.wide, real(0));
        }
      }
}

// Add patches up where they lie on the image.
static ALWAYS void fold(const real* patches, int planes, const Window& w, real* image, int64_t step) {
  std::memset(image, 0, size_t(planes) * w.height * w.width * sizeof(real));
  for (int c = 0; c < planes; ++c)
    for (int a = 0; a < w.rows; ++a)
      for (int b = 0; b < w.columns; ++b, patches += step) {
        const int begin = b * w.apart_right - w.left;
        const Inside inside(w, begin);
        for (int y = 0; y < w.high; ++y) {
          const int row = y * w.down - w.top + a * w.apart_down;
          if (row < 0 || row >= w.height) continue;
          real* to = image + (int64_t(c) * w.height + row) * w.width + begin;
          const real* from = patches + int64_t(y) * w.wide;
          if (w.right == 1)
            for (int x = inside.first; x < inside.last; ++x) to[x] += from[x];
          else
            for (int x = inside.first; x < inside.last; ++x) to[x * w.right] += from[x];
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
// (count, groups * wide, high, wide of the window). Samples stand side by side in one product, `together` at a time: single ones of few
// places make small products. `room` has the patches of so many samples and, where they are several, their side of `other`.
struct Convolution {
  int count, groups, narrow, wide, together;
  Window window;

  int area() const { return window.height * window.width; }
  int places() const { return window.high * window.wide; }
  int reach() const { return narrow * window.rows * window.columns; }

  // Samples `many` from one on, of one group: where they are in image and other, and the kernel of the group.
  template <class Work>
  ALWAYS void each(Work work) const {
    for (int g = 0; g < groups; ++g)
      for (int n = 0; n < count; n += together)
        work((int64_t(n) * groups + g) * narrow * area(), (int64_t(n) * groups + g) * wide * places(),
             int64_t(g) * wide * reach(), std::min(together, count - n), n == 0);
  }
  int64_t next_image() const { return int64_t(groups) * narrow * area(); }
  int64_t next_other() const { return int64_t(groups) * wide * places(); }

  ALWAYS const real* patches(const real* image, int many, real* room) const {
    if (window.is_image() && many == 1) return image;
    for (int s = 0; s < many; ++s) unfold(image + s * next_image(), narrow, window, room + s * places(), int64_t(many) * places());
    return room;
  }
  // The planes of `other`, samples side by side in each: (wide, many * places).
  ALWAYS const real* beside(const real* other, int many, real* room) const {
    if (many == 1) return other;
    for (int s = 0; s < many; ++s)
      for (int k = 0; k < wide; ++k)
        std::copy_n(other + s * next_other() + int64_t(k) * places(), places(), room + (int64_t(k) * many + s) * places());
    return room;
  }
  real* spare(real* room, int many) const { return room + int64_t(reach()) * many * places(); }

  // other = kernel * image, added to what is there if `begun`
  ALWAYS void across(const real* kernel, const real* image, real* other, bool begun, real* room) const {
    each([&](int64_t i, int64_t o, int64_t k, int many, bool) INLINED {
      const int columns = many * places();
      real* to = many == 1 ? other + o : spare(room, many);
      const real* from = patches(image + i, many, room);
      multiply(wide, reach(), columns, kernel + k, 'N', reach(), from, 'N', columns, to, columns, real(begun && many == 1));
      if (many == 1) return;
      for (int s = 0; s < many; ++s)
        for (int p = 0; p < wide; ++p) {
          const real* line = to + (int64_t(p) * many + s) * places();
          real* place = other + o + s * next_other() + int64_t(p) * places();
          if (begun)
            for (int x = 0; x < places(); ++x) place[x] += line[x];
          else
            std::copy_n(line, places(), place);
        }
    });
  }
  // image = transposed kernel * other
  ALWAYS void back(const real* kernel, const real* other, real* image, real* room) const {
    each([&](int64_t i, int64_t o, int64_t k, int many, bool) INLINED {
      const int columns = many * places();
      const bool direct = window.is_image() && many == 1;
      real* to = direct ? image + i : room;
      const real* from = beside(other + o, many, spare(room, many));
      multiply(reach(), wide, columns, kernel + k, 'T', reach(), from, 'N', columns, to, columns, 0);
      if (direct) return;
      for (int s = 0; s < many; ++s) fold(room + s * places(), narrow, window, image + i + s * next_image(), columns);
    });
  }
  // kernel = products of other and image, added up over samples
  ALWAYS void between(const real* other, const real* image, real* kernel, real* room) const {
    if (!count) std::memset(kernel, 0, size_t(groups) * wide * reach() * sizeof(real));
    each([&](int64_t i, int64_t o, int64_t k, int many, bool first) INLINED {
      const int columns = many * places();
      const real* left = beside(other + o, many, spare(room, many));
      multiply(wide, columns, reach(), left, 'N', columns, patches(image + i, many, room), 'T', columns, kernel + k, reach(),
               real(!first));
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
