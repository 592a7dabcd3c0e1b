// The 3x3 convolution of a picture's three channels, and the gradient that comes back to them.
//
// Both are matrix products: of 27 numbers around each position, and from all channels to these.

#pragma once

#include "convolution.h"

namespace {

struct Colours : Convolution {
  static constexpr int64_t COLOURS = 3, WINDOW = 9 * COLOURS, PADDED = 32;
  static constexpr int64_t PIXELS = 4 * ROWS, BAND = 16;  // positions and rows that are computed at once

  // Forwards: (positions, 27) times (27, out).
  void run_forwards(ffi::ThreadPool& pool) const {
    in_parallel(pool, height, [&](int64_t row) {
      static thread_local Scratch rows, windows, products;
      const int64_t across = COLOURS * (width + 2);
      float* beside = rows.get(3 * across);
      float* window = windows.get(PIXELS * WINDOW);
      float* M = products.get(PIXELS * COLUMNS);
      for (int i = 0; i < 3; ++i) copy_row(source(row - 1 + i, height), beside + i * across);
      for (int64_t first = 0; first < width; first += PIXELS) {
        const int64_t count = std::min(PIXELS, width - first);
        for (int64_t p = 0; p < count; ++p)
          for (int i = 0; i < 3; ++i)
            std::copy_n(beside + i * across + COLOURS * (first + p), 3 * COLOURS,
                        window + p * WINDOW + 3 * COLOURS * i);
        for (int64_t n = 0; n < panels(out); ++n)
          of_panel(n, out, [&](auto vectors, int64_t channel) {
            multiply<vectors>(count, window, kernel + channel, M, WINDOW, {WINDOW, 1, out, COLUMNS});
            for (int v = 0; v < vectors; ++v, channel += LANES) {
              const Vector added = bias ? load(bias + channel) : Vector{};
              for (int64_t p = 0; p < count; ++p)
                write((row * width + first + p) * out + channel, added, load(M + p * COLUMNS + v * LANES));
            }
          });
      }
    });
  }

  // A row of the picture with a position beyond it at either side; -1: of zeros.
  void copy_row(int64_t row, float* to) const {
    for (int64_t column = -1; column <= width; ++column, to += COLOURS) {
      const int64_t from = source(column, width);
      for (int c = 0; c < COLOURS; ++c) to[c] = row < 0 || from < 0 ? 0 : x[(row * width + from) * COLOURS + c];
    }
  }

  // Backwards: (positions, in) times (in, 27), and then each position adds up what windows around it have for it.
  void run_backwards(ffi::ThreadPool& pool) const {
    static thread_local Scratch kernels;
    float* K = kernels.get(in * PADDED);
    std::fill_n(K, in * PADDED, 0.0f);
    for (int64_t k = 0; k < WINDOW; ++k)
      for (int64_t c = 0; c < in; ++c) K[c * PADDED + k] = kernel[k * in + c];
    in_parallel(pool, divided_up(height, BAND), [&](int64_t i) {
      static thread_local Scratch row_of_windows;
      float* windows = row_of_windows.get((width + 2) * PADDED);
      const int64_t begin = i * BAND, end = std::min(height, begin + BAND);
      std::fill_n(y + begin * width * COLOURS, (end - begin) * width * COLOURS, 0.0f);
      for (int64_t row = begin - 1; row <= end; ++row) {
        const int64_t from = source(row, height);
        if (from < 0) continue;
        carry_back(from, K, windows);
        for (int k = 0; k < 3; ++k)
          if (const int64_t to = row - 1 + k; to >= begin && to < end) add_up(windows, k, y + to * width * COLOURS);
      }
    });
  }

  // The windows of a row, one beyond it at either side.
  void carry_back(int64_t row, const float* K, float* windows) const {
    static thread_local Scratch gated;
    float* g = gated.get(PIXELS * in);
    for (int64_t first = 0; first < width; first += PIXELS) {
      const int64_t count = std::min(PIXELS, width - first), place = (row * width + first) * in;
      if (gate)
        for (int64_t n = 0; n < count * in; n += LANES) store(g + n, load_gated(x + place + n, gate + place + n));
      for (int64_t n = 0; n < panels(PADDED); ++n)
        multiply<VECTORS>(count, gate ? g : x + place, K + n * COLUMNS,
                          windows + (first + 1) * PADDED + n * COLUMNS, in, {in, 1, PADDED, PADDED});
    }
    for (const int64_t beyond : {int64_t{-1}, width}) {
      const int64_t from = source(beyond, width);
      float* to = windows + (beyond + 1) * PADDED;
      if (from < 0)
        std::fill_n(to, PADDED, 0.0f);
      else
        std::copy_n(windows + (from + 1) * PADDED, PADDED, to);
    }
  }

  // Adds a row of all windows to a row of the gradient.
  void add_up(const float* windows, int row, float* to) const {
    for (int64_t p = 0; p < width; ++p, to += COLOURS)
      for (int column = 0; column < 3; ++column) {
        const float* from = windows + (p + 2 - column) * PADDED + COLOURS * (3 * row + column);
        for (int c = 0; c < COLOURS; ++c) to[c] += from[c];
      }
  }

  void run(ffi::ThreadPool& pool) const { is_turned ? run_backwards(pool) : run_forwards(pool); }
};

}  // namespace
