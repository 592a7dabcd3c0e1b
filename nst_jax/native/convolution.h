// What every 3x3 convolution here is given.

#pragma once

#include "vectors.h"

namespace {

constexpr int64_t GROUP = 16;

enum Padding { ZERO, REPLICATE, WRAP };

// A convolution of (height, width, in) to (height, width, out) by kernels (3, 3, in, out), which but for a picture's come
// in groups of outputs, for those of some outputs are read together: (out / GROUP, 3, 3, in, GROUP). Or turned round,
// from out to in of kernels (3, 3, out, in), which carries gradients back. Kernels as halves, see operations.py, are the
// same for both: groups, and then groups of what is turned round. If it is pooled, it returns means over
// windows of 2 x 2, (height / 2, width / 2, out), or turned round carries the gradient of these back; a last row or
// column without a neighbour is in no window.
struct Convolution {
  int64_t height, width, in, out;
  const float *x, *kernel, *bias;
  const uint8_t* gate;
  float* y;
  uint8_t* positive;
  bool is_turned, is_pooled;
  int padding;

  // Writes results, with bias and rectifier if there is a bias.
  void write(int64_t place, Vector added, Vector result) const {
    store(y + place, bias ? rectified(positive + place, result + added) : result);
  }

  // Where a row or column is taken from; -1: it is zero.
  int64_t source(int64_t i, int64_t count) const {
    if (i >= 0 && i < count) return i;
    if (padding == WRAP) return (i % count + count) % count;
    // What is further away than one beyond the border belongs to no result that is kept. What comes back to a border
    // that was repeated, comes from nothing that is.
    return padding == REPLICATE && !is_turned ? std::clamp<int64_t>(i, 0, count - 1) : -1;
  }

  // Where the input of a position lies; -1: it is zero.
  int64_t place_of(int64_t row, int64_t column) const {
    if (row < 0 || column < 0) return -1;
    if (!is_turned || !is_pooled) return (row * width + column) * in;
    const bool is_in_window = row / 2 < height / 2 && column / 2 < width / 2;
    return is_in_window ? (row / 2 * (width / 2) + column / 2) * in : -1;
  }
};

}  // namespace
