// The 3x3 convolutions of networks/winograd.py as one operation.
//
// Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), F(4x4, 3x3), with the points and
// matrices of winograd.py. What that has as arrays, transformed inputs, products and transformed kernels, is here
// as large as a strip of tiles and the caches of a core: nothing of it is kept, and kernels are transformed anew in
// every call, which takes less time than to read four times as many numbers.
//
// Every output is summed up in one order, whatever the number of threads: results do not depend on it.

#pragma once

#include "vectors.h"

namespace {

constexpr int POINTS = 36;
constexpr int TILE = 4;
constexpr int64_t TILES = 4 * ROWS;         // whose products are transformed back at once
constexpr int64_t STRIP_BYTES = 8 << 20;    // of transformed inputs
constexpr int64_t CHANNELS = 64, FEW = 8;   // of inputs that one thread transforms at once, and tiles

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
        float* m = M + k * TILES * vectors * LANES;
        multiply<vectors>(count, a, U + k * plane(vectors), m, in, {depth(), 1, vectors * LANES, vectors * LANES});
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

}  // namespace
