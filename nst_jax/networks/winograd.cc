// The 3x3 convolutions of winograd.py as one operation of XLA's on CPUs, compiled where it runs: see native.py.
//
// Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), F(4x4, 3x3), with the points and
// matrices of winograd.py. What that has as arrays, transformed inputs, products and transformed kernels, is here
// as large as a strip of tiles and the caches of a core: nothing of it is kept, and kernels are transformed anew in
// every call, which takes less time than to read four times as many numbers.
//
// Every output is summed up in one order, whatever the number of threads: results do not depend on it.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// Numbers in a vector register, and rows of a product that fit in registers with two vectors of columns.
#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 12;
#elif defined(__AVX__)
constexpr int LANES = 8, ROWS = 6;
#else
constexpr int LANES = 4, ROWS = 8;
#endif
constexpr int VECTORS = 2, COLUMNS = LANES * VECTORS;

constexpr int POINTS = 36;
constexpr int TILE = 4;
constexpr int64_t TILES = 4 * ROWS;         // whose products are transformed back at once
constexpr int64_t STRIP_BYTES = 8 << 20;    // of transformed inputs
constexpr int64_t CHANNELS = 64, FEW = 8;   // of inputs that one thread transforms at once, and tiles

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));
typedef uint8_t UnalignedBytes __attribute__((vector_size(LANES), aligned(1), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }
inline Vector where(Integers mask, Vector v) { return (Vector)((Integers)v & mask); }

// Memory that a thread keeps for the next call.
class Scratch {
 public:
  ~Scratch() { std::free(memory_); }
  float* get(int64_t count) {
    if (count > count_) {
      std::free(memory_);
      count_ = (count + 15) / 16 * 16;
      memory_ = static_cast<float*>(std::aligned_alloc(64, 4 * count_));
    }
    return memory_;
  }

 private:
  float* memory_ = nullptr;
  int64_t count_ = 0;
};

// Calls work(0) to work(count - 1), each once, in this thread and in those of the pool that are free.
template <typename Work>
void in_parallel(ffi::ThreadPool& pool, int64_t count, const Work& work) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
  };
  const int64_t others = std::min<int64_t>(count, pool.num_threads()) - 1;
  auto shared = std::make_shared<Shared>();
  // One that comes too late finds nothing left, and does not touch what is of this call.
  auto take = [shared, count, &work] {
    for (int64_t i; (i = shared->next.fetch_add(1)) < count; shared->done.fetch_add(1)) work(i);
  };
  for (int64_t n = 0; n < others; ++n) pool.Schedule(std::function<void()>(take));
  take();
  while (shared->done.load() < count) std::this_thread::yield();
}

// B^T d, A^T m and G g of winograd.py.

inline void transform_input(const Vector d[6], Vector out[6]) {
  const Vector back = d[1] - d[3], ahead = d[4] - d[2];
  out[0] = d[0] - d[4] - 2.5f * back;
  out[1] = 1.5f * (d[2] + d[3]) - (d[1] + d[4]);
  out[2] = d[4] - d[1] - 3.5f * (d[3] - d[2]);
  out[3] = back + 2.0f * ahead;
  out[4] = 2.0f * back + ahead;
  out[5] = d[5] - d[1] - 2.5f * ahead;
}

inline void transform_output(const Vector m[6], Vector out[4]) {
  const Vector even = m[1] + m[2], odd = m[1] - m[2];
  out[0] = m[0] + even + 0.25f * m[3] + 2.0f * m[4];
  out[1] = odd + 0.5f * m[3] + m[4];
  out[2] = even + m[3] + 0.5f * m[4];
  out[3] = odd + 2.0f * m[3] + 0.25f * m[4] + m[5];
}

inline void transform_kernel(const Vector g[3], Vector out[6]) {
  const Vector outer = g[0] + g[2];
  out[0] = g[0];
  out[1] = outer + g[1];
  out[2] = (outer - g[1]) * (1.0f / 9);
  out[3] = (g[0] + 2.0f * g[1] + 4.0f * g[2]) * (2.0f / 9);
  out[4] = (4.0f * g[0] + 2.0f * g[1] + g[2]) * (2.0f / 9);
  out[5] = g[2];
}

// out = a b of (rows, depth) and (depth, vectors * LANES).
template <int rows, int vectors>
void product(const float* a, int64_t stride, const float* b, int64_t depth, float* out) {
  Vector sums[rows][vectors] = {};
  for (int64_t c = 0; c < depth; ++c) {
    Vector right[vectors];
    for (int v = 0; v < vectors; ++v) right[v] = load(b + (c * vectors + v) * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const float left = a[r * stride + c];
      for (int v = 0; v < vectors; ++v) sums[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) store(out + (r * vectors + v) * LANES, sums[r][v]);
}

template <int vectors, int rows = ROWS - 1>
void last_rows(int64_t left, const float* a, int64_t stride, const float* b, int64_t depth, float* out) {
  if constexpr (rows > 0) {
    if (left == rows)
      product<rows, vectors>(a, stride, b, depth, out);
    else
      last_rows<vectors, rows - 1>(left, a, stride, b, depth, out);
  }
}

void transpose(Vector v[LANES]) {
#if defined(__clang__)
  for (int i = 0; i < LANES; ++i)
    for (int j = 0; j < i; ++j) {
      const float other = v[i][j];
      v[i][j] = v[j][i];
      v[j][i] = other;
    }
#else
  for (int step = 1; step < LANES; step *= 2)
    for (int i = 0; i < LANES; ++i) {
      if (i & step) continue;
      Integers low, high;
      for (int j = 0; j < LANES; ++j) {
        low[j] = j & step ? LANES + (j ^ step) : j;
        high[j] = j & step ? LANES + j : j ^ step;
      }
      const Vector a = v[i], b = v[i + step];
      v[i] = __builtin_shuffle(a, b, low);
      v[i + step] = __builtin_shuffle(a, b, high);
    }
#endif
}

enum Padding { ZERO, REPLICATE, WRAP };

// A convolution of (height, width, in) to (height, width, out), whose kernels are (3, 3, in, out); or turned round,
// from out to in of kernels (3, 3, out, in), which carries gradients back.
struct Convolution {
  int64_t height, width, in, out;
  const float *x, *kernel, *bias;
  const uint8_t* gate;
  float* y;
  uint8_t* positive;
  bool is_turned;
  int padding;

  int64_t across() const { return (width + TILE - 1) / TILE; }
  int64_t tiles() const { return (height + TILE - 1) / TILE * across(); }
  // Of rows of transformed inputs and of planes of transformed kernels: not powers of two, which caches dislike.
  int64_t depth() const { return in + LANES; }
  int64_t plane(int vectors) const { return (in + 1) * vectors * LANES; }

  // Where a row or column is taken from; -1: it is zero.
  int64_t source(int64_t i, int64_t count) const {
    if (i >= 0 && i < count) return i;
    if (padding == WRAP) return (i % count + count) % count;
    // What is further away than one beyond the border belongs to no result that is kept.
    return padding == REPLICATE ? std::clamp<int64_t>(i, 0, count - 1) : -1;
  }

  // Writes some channels of a tile, transformed: the points lie `stride` apart.
  void transform_inputs(int64_t tile, int64_t first, int64_t end, float* to, int64_t stride) const {
    int64_t offset[6][6];
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < 6; ++j) {
        const int64_t row = source(tile / across() * TILE - 1 + i, height);
        const int64_t column = source(tile % across() * TILE - 1 + j, width);
        offset[i][j] = row < 0 || column < 0 ? -1 : (row * width + column) * in;
      }
    for (int64_t c = first; c < end; c += LANES) {
      Vector half[6][6];
      for (int j = 0; j < 6; ++j) {
        Vector d[6], out[6];
        for (int i = 0; i < 6; ++i) {
          const int64_t place = offset[i][j] + c;
          if (offset[i][j] < 0) {
            d[i] = Vector{};
          } else if (gate) {
            const Bytes open = *reinterpret_cast<const UnalignedBytes*>(gate + place);
            d[i] = where(-__builtin_convertvector(open, Integers), load(x + place));
          } else {
            d[i] = load(x + place);
          }
        }
        transform_input(d, out);
        for (int i = 0; i < 6; ++i) half[i][j] = out[i];
      }
      for (int i = 0; i < 6; ++i) {
        Vector out[6];
        transform_input(half[i], out);
        for (int j = 0; j < 6; ++j) store(to + (6 * i + j) * stride + c, out[j]);
      }
    }
  }

  // Writes the kernels of some outputs, transformed: (POINTS, in, vectors * LANES).
  template <int vectors>
  void transform_kernels(int64_t channel, float* to) const {
    const int64_t all = in * out;
    auto put = [&](int64_t c, int v, const Vector g[3][3]) {  // g[column][row]
      Vector half[6][3];
      for (int j = 0; j < 3; ++j) {
        Vector o[6];
        transform_kernel(g[j], o);
        for (int i = 0; i < 6; ++i) half[i][j] = o[i];
      }
      for (int i = 0; i < 6; ++i) {
        Vector o[6];
        transform_kernel(half[i], o);
        for (int j = 0; j < 6; ++j) store(to + (6 * i + j) * plane(vectors) + (c * vectors + v) * LANES, o[j]);
      }
    };
    if (!is_turned) {
      for (int64_t c = 0; c < in; ++c)
        for (int v = 0; v < vectors; ++v) {
          Vector g[3][3];
          for (int k = 0; k < 9; ++k) g[k % 3][k / 3] = load(kernel + k * all + c * out + channel + v * LANES);
          put(c, v, g);
        }
      return;
    }
    for (int v = 0; v < vectors; ++v)
      for (int64_t first = 0; first < in; first += LANES) {
        Vector taps[9][LANES];
        for (int k = 0; k < 9; ++k) {
          for (int r = 0; r < LANES; ++r)
            taps[k][r] = load(kernel + k * all + (channel + v * LANES + r) * in + first);
          transpose(taps[k]);
        }
        for (int r = 0; r < LANES; ++r) {
          Vector g[3][3];
          for (int k = 0; k < 9; ++k) g[k % 3][k / 3] = taps[8 - k][r];
          put(first + r, v, g);
        }
      }
  }

  // Transforms the products of a tile back and writes them, with bias and rectifier if there is a bias.
  template <int vectors>
  void write(int64_t tile, int64_t channel, const float* products, int64_t stride) const {
    const int64_t top = tile / across() * TILE, left = tile % across() * TILE;
    for (int v = 0; v < vectors; ++v, channel += LANES) {
      Vector half[4][6];
      for (int j = 0; j < 6; ++j) {
        Vector m[6], o[4];
        for (int i = 0; i < 6; ++i) m[i] = load(products + (6 * i + j) * stride + v * LANES);
        transform_output(m, o);
        for (int i = 0; i < 4; ++i) half[i][j] = o[i];
      }
      const Vector added = bias ? load(bias + channel) : Vector{};
      for (int i = 0; i < TILE && top + i < height; ++i) {
        Vector o[4];
        transform_output(half[i], o);
        for (int j = 0; j < TILE && left + j < width; ++j) {
          const int64_t place = ((top + i) * width + left + j) * out + channel;
          if (bias) {
            const Vector sum = o[j] + added;
            const Integers mask = sum > 0;
            store(y + place, where(mask, sum));
            *reinterpret_cast<UnalignedBytes*>(positive + place) = __builtin_convertvector(-mask, Bytes);
          } else {
            store(y + place, o[j]);
          }
        }
      }
    }
  }

  // Computes some channels of the tiles from begin to end, of inputs that are transformed from `first` on.
  template <int vectors>
  void columns(int64_t channel, int64_t begin, int64_t end, int64_t first, const float* V, int64_t stride) const {
    static thread_local Scratch kernels, products;
    float* U = kernels.get(POINTS * plane(VECTORS));
    float* M = products.get(POINTS * TILES * COLUMNS);
    transform_kernels<vectors>(channel, U);
    for (int64_t tile = begin; tile < end; tile += TILES) {
      const int64_t count = std::min(TILES, end - tile);
      for (int k = 0; k < POINTS; ++k) {
        const float* a = V + k * stride + (tile - first) * depth();
        const float* b = U + k * plane(vectors);
        float* m = M + k * TILES * vectors * LANES;
        int64_t r = 0;
        for (; r + ROWS <= count; r += ROWS)
          product<ROWS, vectors>(a + r * depth(), depth(), b, in, m + r * vectors * LANES);
        last_rows<vectors>(count - r, a + r * depth(), depth(), b, in, m + r * vectors * LANES);
      }
      for (int64_t t = 0; t < count; ++t)
        write<vectors>(tile + t, channel, M + t * vectors * LANES, TILES * vectors * LANES);
    }
  }

  void run(ffi::ThreadPool& pool) const {
    static thread_local Scratch inputs;
    const int64_t every = tiles(), tile_bytes = POINTS * depth() * 4;
    const int64_t strips = std::max<int64_t>(1, (every * tile_bytes + STRIP_BYTES / 2) / STRIP_BYTES);
    const int64_t most = round_up((every + strips - 1) / strips), stride = most * depth();
    float* V = inputs.get(POINTS * stride);
    for (int64_t first = 0; first < every; first += most) {
      const int64_t end = std::min(every, first + most);
      const int64_t parts = (in + CHANNELS - 1) / CHANNELS;
      in_parallel(pool, (end - first + FEW - 1) / FEW * parts, [&](int64_t i) {
        const int64_t channel = i % parts * CHANNELS, tile = first + i / parts * FEW;
        for (int64_t t = tile; t < std::min(end, tile + FEW); ++t)
          transform_inputs(t, channel, std::min(in, channel + CHANNELS), V + (t - first) * depth(), stride);
      });
      // Each thread has some channels; with many threads and few channels, of some tiles only.
      const int64_t panels = (out + COLUMNS - 1) / COLUMNS, wanted = 4 * pool.num_threads();
      const int64_t divided = std::min((wanted + panels - 1) / panels, (end - first) / (2 * TILES));
      const int64_t each = round_up((end - first) / std::max<int64_t>(1, divided));
      const int64_t pieces = (end - first + each - 1) / each;
      in_parallel(pool, panels * pieces, [&](int64_t i) {
        const int64_t channel = i / pieces * COLUMNS, tile = first + i % pieces * each;
        if (channel + COLUMNS <= out)
          columns<VECTORS>(channel, tile, std::min(end, tile + each), first, V, stride);
        else
          columns<1>(channel, tile, std::min(end, tile + each), first, V, stride);
      });
    }
  }

  // A multiple of the rows of a product, at least one.
  static int64_t round_up(int64_t count) { return std::max<int64_t>(1, (count + ROWS - 1) / ROWS) * ROWS; }
};

// Arrays without elements stand for none: no gate, or no bias and then no mask.
ffi::Error convolve(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::PRED> gate,
                    ffi::Buffer<ffi::F32> kernel, ffi::Buffer<ffi::F32> bias, bool is_turned, int64_t padding,
                    ffi::ResultBuffer<ffi::F32> y, ffi::ResultBuffer<ffi::PRED> positive) {
  const auto size = x.dimensions();
  Convolution convolution{size[0], size[1], size[2], y->dimensions()[2]};
  if (convolution.in % 16 || convolution.out % 16)
    return ffi::Error::InvalidArgument("channels should be multiples of 16");
  convolution.x = x.typed_data();
  convolution.kernel = kernel.typed_data();
  convolution.bias = bias.element_count() ? bias.typed_data() : nullptr;
  convolution.gate = gate.element_count() ? reinterpret_cast<const uint8_t*>(gate.typed_data()) : nullptr;
  convolution.y = y->typed_data();
  convolution.positive = reinterpret_cast<uint8_t*>(positive->typed_data());
  convolution.is_turned = is_turned;
  convolution.padding = static_cast<int>(padding);
  convolution.run(pool);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(NstJaxConvolve, convolve,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("turned")
                                  .Attr<int64_t>("padding")
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::PRED>>());
