// The 3x3 convolutions of networks/winograd.py as one operation.
//
// Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), F(4x4, 3x3), with the points and
// matrices of winograd.py, and F(6x6, 3x3), which multiplies 1.78 times for each result in place of 2.25. What
// winograd.py has as arrays, transformed inputs, products and transformed kernels, is here as large as a strip of tiles
// and the caches of a core: nothing of it is kept, and kernels are transformed anew in every call, for all of them
// would be four times as large as the network.
//
// Every output is summed up in one order, whatever the number of threads: results do not depend on it.

#pragma once

#include "convolution.h"

namespace {

constexpr int64_t FEW_CHANNELS = 128;      // of which some tiles, transformed, fit in a cache
constexpr int64_t STRIP_BYTES = 8 << 20;   // of transformed inputs
constexpr int64_t CHANNELS = 64, FEW = 8;  // of inputs that one thread transforms at once, and tiles
constexpr int64_t KERNEL = 21;             // products at a point, which take as long as to transform the kernel

// B^T d, A^T m and a row of G g: of F(4x4, 3x3) as in winograd.py, and of F(6x6, 3x3) at 0, 1, -1, 2, -2, 1/2, -1/2 and
// infinity.

inline void transform_input(const Vector (&d)[6], Vector (&out)[6]) {
  const Vector back = d[1] - d[3], ahead = d[4] - d[2];
  out[0] = d[0] - d[4] - 2.5f * back;
  out[1] = 1.5f * (d[2] + d[3]) - (d[1] + d[4]);
  out[2] = d[4] - d[1] - 3.5f * (d[3] - d[2]);
  out[3] = back + 2.0f * ahead;
  out[4] = 2.0f * back + ahead;
  out[5] = d[5] - d[1] - 2.5f * ahead;
}

inline void transform_input(const Vector (&d)[8], Vector (&out)[8]) {
  out[0] = d[0] - d[6] + 5.25f * (d[4] - d[2]);
  out[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
  const Vector even[] = {d[2] + d[6] - 4.25f * d[4], 0.25f * d[2] - 1.25f * d[4] + d[6],
                         4.0f * d[2] - 5.0f * d[4] + d[6]};
  const Vector odd[] = {d[1] + d[5] - 4.25f * d[3], 0.5f * d[1] - 2.5f * d[3] + 2.0f * d[5],
                        2.0f * d[1] - 2.5f * d[3] + 0.5f * d[5]};
  for (int k = 0; k < 3; ++k) {
    out[2 * k + 1] = even[k] + odd[k];
    out[2 * k + 2] = even[k] - odd[k];
  }
}

inline void transform_output(const Vector (&m)[6], Vector (&out)[4]) {
  const Vector even = m[1] + m[2], odd = m[1] - m[2];
  out[0] = m[0] + even + 0.25f * m[3] + 2.0f * m[4];
  out[1] = odd + 0.5f * m[3] + m[4];
  out[2] = even + m[3] + 0.5f * m[4];
  out[3] = odd + 2.0f * m[3] + 0.25f * m[4] + m[5];
}

inline void transform_output(const Vector (&m)[8], Vector (&out)[6]) {
  Vector even[3], odd[3];
  for (int k = 0; k < 3; ++k) {
    even[k] = m[2 * k + 1] + m[2 * k + 2];
    odd[k] = m[2 * k + 1] - m[2 * k + 2];
  }
  out[0] = m[0] + even[0] + even[1] + 32.0f * even[2];
  out[1] = odd[0] + 2.0f * odd[1] + 16.0f * odd[2];
  out[2] = even[0] + 4.0f * even[1] + 8.0f * even[2];
  out[3] = odd[0] + 8.0f * odd[1] + 4.0f * odd[2];
  out[4] = even[0] + 16.0f * even[1] + 2.0f * even[2];
  out[5] = m[7] + odd[0] + 32.0f * odd[1] + odd[2];
}

template <int across>
Vector transformed(int point, const Vector g[3]);

template <>
inline Vector transformed<6>(int point, const Vector g[3]) {
  switch (point) {
    case 0: return g[0];
    case 1: return g[0] + g[1] + g[2];
    case 2: return (g[0] - g[1] + g[2]) * (1.0f / 9);
    case 3: return (g[0] + 2.0f * g[1] + 4.0f * g[2]) * (2.0f / 9);
    case 4: return (4.0f * g[0] + 2.0f * g[1] + g[2]) * (2.0f / 9);
    default: return g[2];
  }
}

template <>
inline Vector transformed<8>(int point, const Vector g[3]) {
  switch (point) {
    case 0: return g[0];
    case 1: return (g[0] + g[1] + g[2]) * (-2.0f / 9);
    case 2: return (g[0] - g[1] + g[2]) * (-2.0f / 9);
    case 3: return (g[0] + 2.0f * g[1] + 4.0f * g[2]) * (1.0f / 90);
    case 4: return (g[0] - 2.0f * g[1] + 4.0f * g[2]) * (1.0f / 90);
    case 5: return (4.0f * g[0] + 2.0f * g[1] + g[2]) * (1.0f / 180);
    case 6: return (4.0f * g[0] - 2.0f * g[1] + g[2]) * (1.0f / 180);
    default: return g[2];
  }
}

template <int TILE>
struct Winograd : Convolution {
  static constexpr int ACROSS = TILE + 2, POINTS = ACROSS * ACROSS;  // of a tile's inputs
  // Tiles that are multiplied by the same kernels while these are in a cache.
  static constexpr int64_t TILES = (TILE == 4 ? 4 : 2) * ROWS;

  int64_t across() const { return divided_up(width, TILE); }
  int64_t tiles() const { return divided_up(height, TILE) * across(); }
  // Of a transformed tile at a point: no power of two, which caches dislike.
  int64_t depth() const { return in + 16; }

  // Writes some channels of a tile, transformed: points lie `apart`.
  void transform_inputs(int64_t tile, int64_t first, int64_t end, float* to, int64_t apart) const {
    int64_t offset[ACROSS][ACROSS], gates[ACROSS][ACROSS];
    for (int i = 0; i < ACROSS; ++i)
      for (int j = 0; j < ACROSS; ++j) {
        const int64_t row = source(tile / across() * TILE - 1 + i, height);
        const int64_t column = source(tile % across() * TILE - 1 + j, width);
        offset[i][j] = place_of(row, column);
        gates[i][j] = (row * width + column) * in;
      }
    for (int64_t c = first; c < end; c += LANES) {
      Vector half[ACROSS][ACROSS];
      for (int j = 0; j < ACROSS; ++j) {
        Vector d[ACROSS], out[ACROSS];
        for (int i = 0; i < ACROSS; ++i) {
          const int64_t place = offset[i][j] + c;
          if (offset[i][j] < 0) {
            d[i] = Vector{};
          } else if (gate) {
            d[i] = load_gated(x + place, gate + gates[i][j] + c);
          } else {
            d[i] = load(x + place);
          }
        }
        transform_input(d, out);
        for (int i = 0; i < ACROSS; ++i) half[i][j] = out[i];
      }
      for (int i = 0; i < ACROSS; ++i) {
        Vector out[ACROSS];
        transform_input(half[i], out);
        for (int j = 0; j < ACROSS; ++j) store(to + (ACROSS * i + j) * apart + c, out[j]);
      }
    }
  }

  // Where the kernels of a panel lie: of vector v, tap k and input c at from + v * apart + (k * in + c) * next.
  struct Kernels {
    const float* from;
    int64_t apart, next;
  };

  // The kernels of the outputs from a channel on. Those of what is turned round are transposed, into `scratch`.
  template <int vectors>
  Kernels kernels_of(int64_t channel, Scratch& scratch) const {
    if (!is_turned) {
      const float* from = kernel + channel / GROUP * 9 * in * GROUP + channel % GROUP;
      return {from, LANES < GROUP ? LANES : 9 * in * GROUP, GROUP};
    }
    float* to = scratch.get(9 * in * COLUMNS);
    for (int k = 0; k < 9; ++k)
      for (int v = 0; v < vectors; ++v)
        for (int64_t first = 0; first < in; first += LANES) {
          const float* from = kernel + ((8 - k) * out + channel + v * LANES) * in + first;
          Vector square[LANES];
          for (int r = 0; r < LANES; ++r) square[r] = load(from + r * in);
          transpose(square);
          for (int r = 0; r < LANES; ++r) store(to + ((k * in + first + r) * vectors + v) * LANES, square[r]);
        }
    return {to, LANES, vectors * LANES};
  }

  // Writes a row of the points of these kernels, transformed: (ACROSS, in, vectors * LANES).
  template <int vectors>
  void transform_kernels(int row, Kernels kernels, float* to) const {
    for (int64_t c = 0; c < in; ++c)
      for (int v = 0; v < vectors; ++v) {
        const float* from = kernels.from + v * kernels.apart + c * kernels.next;
        Vector half[3];
        for (int j = 0; j < 3; ++j) {
          Vector g[3];
          for (int i = 0; i < 3; ++i) g[i] = load(from + (3 * i + j) * in * kernels.next);
          half[j] = transformed<ACROSS>(row, g);
        }
        for (int j = 0; j < ACROSS; ++j) store(to + ((j * in + c) * vectors + v) * LANES, transformed<ACROSS>(j, half));
      }
  }

  // Transforms the products of a tile back and writes them, with bias and rectifier if there is a bias.
  template <int vectors>
  void write_tile(int64_t tile, int64_t channel, const float* products) const {
    const int64_t top = tile / across() * TILE, left = tile % across() * TILE;
    for (int v = 0; v < vectors; ++v, channel += LANES) {
      Vector half[TILE][ACROSS];
      for (int j = 0; j < ACROSS; ++j) {
        Vector m[ACROSS], o[TILE];
        for (int i = 0; i < ACROSS; ++i) m[i] = load(products + ((ACROSS * i + j) * vectors + v) * LANES);
        transform_output(m, o);
        for (int i = 0; i < TILE; ++i) half[i][j] = o[i];
      }
      const Vector added = bias ? load(bias + channel) : Vector{};
      Vector o[TILE][TILE];
      for (int i = 0; i < TILE; ++i) transform_output(half[i], o[i]);
      if (is_pooled && !is_turned) {
        write_means(top, left, channel, added, o);
        continue;
      }
      for (int i = 0; i < TILE && top + i < height; ++i)
        for (int j = 0; j < TILE && left + j < width; ++j)
          write(((top + i) * width + left + j) * out + channel, added, is_pooled ? 0.25f * o[i][j] : o[i][j]);
    }
  }

  // Writes the means over windows, and all masks.
  void write_means(int64_t top, int64_t left, int64_t channel, Vector added, const Vector o[TILE][TILE]) const {
    Vector sums[TILE / 2][TILE / 2] = {};
    for (int i = 0; i < TILE && top + i < height; ++i)
      for (int j = 0; j < TILE && left + j < width; ++j)
        sums[i / 2][j / 2] += rectified(positive + ((top + i) * width + left + j) * out + channel, o[i][j] + added);
    for (int i = 0; i < TILE / 2 && top / 2 + i < height / 2; ++i)
      for (int j = 0; j < TILE / 2 && left / 2 + j < width / 2; ++j)
        store(y + ((top / 2 + i) * (width / 2) + left / 2 + j) * out + channel, 0.25f * sums[i][j]);
  }

  // Multiplies transformed inputs of some tiles, whose points lie `apart`, by kernels at a row of points.
  template <int vectors>
  void multiply_row(int row, int64_t count, const float* V, int64_t apart, const float* U, float* M) const {
    constexpr int64_t width = vectors * LANES;
    for (int k = ACROSS * row; k < ACROSS * (row + 1); ++k)
      multiply<vectors>(count, V + k * apart, U + (k - ACROSS * row) * in * width, M + k * width, in,
                        {depth(), 1, width, POINTS * width});
  }

  // All channels of some tiles at a time, by kernels that are transformed before: inputs and products stay in the
  // caches of a core.
  void run_by_tiles(ffi::ThreadPool& pool) const {
    static thread_local Scratch transforms;
    const int64_t panel = POINTS * in * COLUMNS, every = tiles();
    float* U = transforms.get(panels(out) * panel);
    in_parallel(pool, panels(out), [&](int64_t i) {
      of_panel(i, out, [&](auto vectors, int64_t channel) {
        static thread_local Scratch scratch;
        const Kernels g = kernels_of<vectors>(channel, scratch);
        for (int row = 0; row < ACROSS; ++row)
          transform_kernels<vectors>(row, g, U + i * panel + ACROSS * row * in * vectors * LANES);
      });
    });
    const int64_t block = std::min(TILES, round_up(every / (2 * pool.num_threads())));
    in_parallel(pool, divided_up(every, block), [&](int64_t i) {
      static thread_local Scratch inputs, products;
      const int64_t first = i * block, count = std::min(block, every - first), apart = block * depth();
      float* V = inputs.get(POINTS * apart);
      float* M = products.get(block * POINTS * COLUMNS);
      for (int64_t t = 0; t < count; ++t) transform_inputs(first + t, 0, in, V + t * depth(), apart);
      for (int64_t n = 0; n < panels(out); ++n)
        of_panel(n, out, [&](auto vectors, int64_t channel) {
          constexpr int64_t width = vectors * LANES;
          for (int row = 0; row < ACROSS; ++row)
            multiply_row<vectors>(row, count, V, apart, U + n * panel + ACROSS * row * in * width, M);
          for (int64_t t = 0; t < count; ++t) write_tile<vectors>(first + t, channel, M + t * POINTS * width);
        });
    });
  }

  // Some channels of many tiles at a time, whose transformed inputs all threads share: kernels are many, and
  // those of a row of points are transformed where they are needed.
  void run_by_channels(ffi::ThreadPool& pool) const {
    static thread_local Scratch inputs;
    const int64_t every = tiles(), most = std::max<int64_t>(TILES, STRIP_BYTES / (4 * POINTS * depth()));
    const int64_t strips = divided_up(every, most), strip = divided_up(every, strips);
    const int64_t apart = strip * depth(), parts = divided_up(in, CHANNELS);
    float* V = inputs.get(POINTS * apart);
    for (int64_t first = 0; first < every; first += strip) {
      const int64_t count = std::min(strip, every - first);
      in_parallel(pool, divided_up(count, FEW) * parts, [&](int64_t i) {
        const int64_t channel = i % parts * CHANNELS, tile = i / parts * FEW;
        for (int64_t t = tile; t < std::min(count, tile + FEW); ++t)
          transform_inputs(first + t, channel, std::min(in, channel + CHANNELS), V + t * depth(), apart);
      });
      // With many threads and few channels each has some of the tiles only.
      const int64_t wanted = std::min(divided_up(4 * pool.num_threads(), panels(out)), count / (2 * TILES));
      const int64_t each = round_up(divided_up(count, std::max<int64_t>(1, wanted)));
      const int64_t pieces = divided_up(count, each);
      in_parallel(pool, panels(out) * pieces, [&](int64_t i) {
        const int64_t tile = i % pieces * each, end = std::min(count, tile + each);
        of_panel(i / pieces, out, [&](auto vectors, int64_t channel) {
          static thread_local Scratch scratch, transforms, products;
          constexpr int64_t width = vectors * LANES;
          float* U = transforms.get(ACROSS * in * width);
          float* M = products.get(each * POINTS * width);
          const Kernels g = kernels_of<vectors>(channel, scratch);
          for (int row = 0; row < ACROSS; ++row) {
            transform_kernels<vectors>(row, g, U);
            for (int64_t t = tile; t < end; t += TILES)
              multiply_row<vectors>(row, std::min(TILES, end - t), V + t * depth(), apart, U,
                                    M + (t - tile) * POINTS * width);
          }
          for (int64_t t = tile; t < end; ++t)
            write_tile<vectors>(first + t, channel, M + (t - tile) * POINTS * width);
        });
      });
    }
  }

  // What it takes to multiply and to transform kernels, for each of them.
  int64_t price() const { return POINTS * (tiles() + KERNEL); }

  // A multiple of the rows of a product, at least one.
  static int64_t round_up(int64_t count) { return std::max<int64_t>(1, divided_up(count, ROWS)) * ROWS; }
};

// By tiles that are larger where that takes less: further fewer products, but more kernels, and at the borders more that
// is thrown away. With few channels transforms take as long as products, and nothing is gained.
inline void run_winograd(const Convolution& convolution, ffi::ThreadPool& pool) {
  const Winograd<4> small{convolution};
  const Winograd<6> large{convolution};
  if (convolution.in <= FEW_CHANNELS)
    small.run_by_tiles(pool);
  else if (small.price() <= large.price())
    small.run_by_channels(pool);
  else
    large.run_by_channels(pool);
}

}  // namespace
