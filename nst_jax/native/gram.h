// Gram matrices of features, in half the arithmetic and with threads that share the positions.
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
    in_parallel(pool, channels / LANES, [&](int64_t i) {
      const int64_t row = i * LANES;
      for (int64_t column = row; column < channels; column += LANES) {
        Vector square[LANES] = {};
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          for (int r = 0; r < LANES; ++r) square[r] += load(sums + chunk * size + (row + r) * channels + column);
        for (int r = 0; r < LANES; ++r) store(G + (row + r) * channels + column, square[r]);
        if (row == column) continue;  // has both halves, added up in the same order
        transpose(square);
        for (int r = 0; r < LANES; ++r) store(G + (column + r) * channels + row, square[r]);
      }
    });
  }
};

}  // namespace
