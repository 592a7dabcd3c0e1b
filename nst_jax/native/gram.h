// Gram matrices of features and their gradients, in half the arithmetic and with threads that share the positions.
//
// Every number is summed up in one order, whatever the number of threads: positions in blocks of `BLOCK` in
// registers, those in chunks of `CHUNK` in memory, and these one after the other.

#pragma once

#include "vectors.h"

namespace {

constexpr int64_t BLOCK = 256, CHUNK = 4096;

// G = F^T F of F (positions, channels): what is on the diagonal and above it, then the rest by symmetry.
struct Gram {
  int64_t positions, channels;
  const float* F;
  float* G;

  // Columns from `first` on of the sum over positions from begin to end.
  template <int vectors>
  void panel(int64_t first, int64_t begin, int64_t end, float* sum) const {
    const int64_t rows = std::min(channels, first + vectors * LANES);
    for (int64_t r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) store(sum + r * channels + first + v * LANES, Vector{});
    for (int64_t p = begin; p < end; p += BLOCK) {
      const float* block = F + p * channels;
      multiply<vectors, true>(rows, block, block + first, sum + first, std::min(BLOCK, end - p),
                              {1, channels, channels, channels});
    }
  }

  void run(ffi::ThreadPool& pool) const {
    static thread_local Scratch scratch;
    const int64_t chunks = divided_up(positions, CHUNK), count = panels(channels), size = channels * channels;
    float* sums = scratch.get(chunks * size);
    in_parallel(pool, chunks * count, [&](int64_t i) {
      const int64_t chunk = i % chunks, begin = chunk * CHUNK, end = std::min(positions, begin + CHUNK);
      of_panel(count - 1 - i / chunks, channels, [&](auto vectors, int64_t first) {  // the last is the longest
        panel<vectors>(first, begin, end, sums + chunk * size);
      });
    });
    for (int64_t i = 0; i < channels; ++i)
      for (int64_t j = i; j < channels; ++j) {
        float sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * size + i * channels + j];
        G[i * channels + j] = G[j * channels + i] = sum;
      }
  }
};

// F S of F (positions, channels) and S (channels, channels).
struct Times {
  int64_t positions, channels;
  const float *F, *S;
  float* to;

  template <int vectors>
  void panel(int64_t first, int64_t begin, int64_t end) const {
    static thread_local Scratch scratch;
    float* right = scratch.get(channels * COLUMNS);  // side by side, for it is read often
    for (int64_t c = 0; c < channels; ++c)
      for (int v = 0; v < vectors; ++v)
        store(right + (c * vectors + v) * LANES, load(S + c * channels + first + v * LANES));
    multiply<vectors>(end - begin, F + begin * channels, right, to + begin * channels + first, channels,
                      {channels, 1, vectors * LANES, channels});
  }

  void run(ffi::ThreadPool& pool) const {
    constexpr int64_t rows = 16 * ROWS;
    in_parallel(pool, divided_up(positions, rows), [&](int64_t i) {
      const int64_t begin = i * rows, end = std::min(positions, begin + rows);
      for (int64_t n = 0; n < panels(channels); ++n)
        of_panel(n, channels, [&](auto vectors, int64_t first) { panel<vectors>(first, begin, end); });
    });
  }
};

}  // namespace
