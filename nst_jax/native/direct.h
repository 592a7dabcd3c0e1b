// The 3x3 convolutions of networks/convolution.py as sums over nine shifts, on processors that multiply matrices: what
// winograd.h transforms for fewer products, is multiplied as it is.
//
// Every output is summed up in one order, whatever the number of threads: results do not depend on it.

#pragma once

#include "convolution.h"
#include "halves.h"

#ifdef NST_JAX_HALVES

namespace {

struct Direct : Convolution {
  // That are multiplied at once: positions, inputs and outputs.
  static constexpr int64_t POSITIONS = 2 * Tiles::ROWS, INPUTS = HALVES, PANEL = 2 * LANES;
  static constexpr int64_t INPUT_BYTES = 768 << 10, ACROSS = 256;  // of a block

  // Positions and panels that one thread computes.
  struct Block {
    int64_t top, rows, left, columns, first, last;
  };

  bool is_folded() const { return is_turned && padding == REPLICATE; }

  // From one position to the next of inputs as halves, first all high ones: no power of two, which caches dislike.
  int64_t apart() const { return 2 * in + INPUTS; }

  // Inputs of a block and of what is one around it, (rows + 2, columns + 2).
  void split_inputs(const Block& block, uint16_t* to) const {
    for (int64_t i = -1; i <= block.rows; ++i)
      for (int64_t j = -1; j <= block.columns; ++j, to += apart()) {
        const int64_t row = source(block.top + i, height), column = source(block.left + j, width);
        const int64_t place = place_of(row, column);
        const uint8_t* open = gate ? gate + (row * width + column) * in : nullptr;
        if (place < 0) {
          std::fill_n(to, 2 * in, uint16_t{0});
          continue;
        }
        for (int64_t c = 0; c < in; c += INPUTS) {
          const float* from = x + place + c;
          if (gate)
            split(load_gated(from, open + c), load_gated(from + LANES, open + c + LANES), to + c, to + in + c);
          else
            split(load(from), load(from + LANES), to + c, to + in + c);
        }
      }
  }

  // Multiplies what lies around two times 16 positions, in rows that lie `pitch` apart, by the kernels of a panel: to
  // (POSITIONS, PANEL).
  void multiply(const uint16_t* a, const uint16_t* b, int64_t pitch, const float* kernels, float* to) const {
    constexpr int64_t TILE = Tiles::ROWS * LANES, STRIDE = 4 * PANEL;
    const int64_t bytes = 2 * apart(), second = 9 * in * LANES;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t c = 0; c < in; c += INPUTS)
      for (int k = 0; k < 9; ++k, kernels += 2 * TILE) {
        const int64_t shift = (k / 3 * pitch + k % 3) * apart() + c;
        // Meanwhile, a part after each product, the kernels that come next are on their way to the nearest cache.
        const auto fetch = [&](int part) {
          const float* next = kernels + 2 * TILE + 3 * part * LANES;
          for (int line = 0; line < 3; ++line, next += LANES) {
            _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
            _mm_prefetch(reinterpret_cast<const char*>(next + second), _MM_HINT_T0);
          }
        };
        _tile_loadd(4, kernels, Tiles::BYTES);
        _tile_loadd(5, kernels + second, Tiles::BYTES);
        _tile_loadd(6, a + shift + in, bytes);
        _tile_dpbf16ps(0, 6, 4); fetch(0);
        _tile_dpbf16ps(1, 6, 5); fetch(1);
        _tile_loadd(7, b + shift + in, bytes);
        _tile_dpbf16ps(2, 7, 4); fetch(2);
        _tile_dpbf16ps(3, 7, 5); fetch(3);
        _tile_loadd(6, a + shift, bytes);
        _tile_dpbf16ps(0, 6, 4); fetch(4);
        _tile_dpbf16ps(1, 6, 5); fetch(5);
        _tile_loadd(7, b + shift, bytes);
        _tile_dpbf16ps(2, 7, 4); fetch(6);
        _tile_dpbf16ps(3, 7, 5); fetch(7);
        _tile_loadd(4, kernels + TILE, Tiles::BYTES);
        _tile_dpbf16ps(0, 6, 4); fetch(8);
        _tile_dpbf16ps(2, 7, 4); fetch(9);
        _tile_loadd(5, kernels + second + TILE, Tiles::BYTES);
        _tile_dpbf16ps(1, 6, 5); fetch(10);
        _tile_dpbf16ps(3, 7, 5);
      }
    _tile_stored(0, to, STRIDE);
    _tile_stored(1, to + LANES, STRIDE);
    _tile_stored(2, to + Tiles::ROWS * PANEL, STRIDE);
    _tile_stored(3, to + Tiles::ROWS * PANEL + LANES, STRIDE);
  }

  // Of a gradient, where the border was repeated: adds what comes to positions beyond it to those that they repeat.
  void fold(const Block& block, int64_t pitch, float* M) const {
    for (int64_t i = 0; i < block.rows; ++i)
      for (int64_t j = 0; j < block.columns; ++j) {
        const int64_t row = std::clamp<int64_t>(i, -block.top, height - 1 - block.top);
        const int64_t column = std::clamp<int64_t>(j, -block.left, width - 1 - block.left);
        if (row == i && column == j) continue;
        float* to = M + (row * pitch + column) * PANEL;
        for (int c = 0; c < PANEL; ++c) to[c] += M[(i * pitch + j) * PANEL + c];
      }
  }

  // Writes outputs of a block, whose rows lie `pitch` positions apart in `from`.
  void write_block(const Block& block, int64_t channel, int64_t pitch, const float* from) const {
    Vector added[PANEL / LANES] = {};
    for (int v = 0; bias && v < PANEL / LANES; ++v) added[v] = load(bias + channel + v * LANES);
    for (int64_t i = 0; i < block.rows; ++i)
      for (int64_t j = 0; j < block.columns; ++j) {
        const int64_t row = block.top + i, column = block.left + j;
        if (row < 0 || row >= height || column < 0 || column >= width) continue;
        for (int v = 0; v < PANEL / LANES; ++v) {
          const Vector o = load(from + (i * pitch + j) * PANEL + v * LANES);
          const int64_t c = channel + v * LANES, place = (row * width + column) * out + c;
          if (!is_pooled || is_turned)
            write(place, added[v], is_pooled ? 0.25f * o : o);
          else
            add_to_mean(row, column, c, rectified(positive + place, o + added[v]));
        }
      }
  }

  // Adds a feature to the mean of its window.
  void add_to_mean(int64_t row, int64_t column, int64_t channel, Vector feature) const {
    if (row / 2 >= height / 2 || column / 2 >= width / 2) return;
    float* to = y + (row / 2 * (width / 2) + column / 2) * out + channel;
    const Vector before = row % 2 || column % 2 ? load(to) : Vector{};
    store(to, before + 0.25f * feature);
  }

  void run(const Block& block) const {
    static thread_local Scratch inputs, products;
    const int64_t pitch = block.columns + 2;
    // Positions 16 by 16: of one row if that has a multiple, or else of all rows and the gaps between them in turn.
    const int64_t across = block.columns % Tiles::ROWS ? pitch : block.columns;
    const int64_t count = divided_up(block.rows * across, POSITIONS) * POSITIONS;
    auto* A = reinterpret_cast<uint16_t*>(inputs.get(((block.rows + 2) * pitch + 2 * POSITIONS) * apart() / 2));
    float* M = products.get(count * PANEL);
    split_inputs(block, A);
    const auto around = [&](int64_t position) { return A + (position / across * pitch + position % across) * apart(); };
    const Tiles tiles;
    for (int64_t panel = block.first; panel < block.last; ++panel) {
      for (int64_t p = 0; p < count; p += POSITIONS)
        multiply(around(p), around(p + Tiles::ROWS), pitch, kernel + panel * 9 * in * PANEL, M + p * PANEL);
      if (is_folded()) fold(block, across, M);
      write_block(block, panel * PANEL, across, M);
    }
  }

  // Blocks as large as a cache holds of their inputs, that all panels of outputs want. With many threads, and few
  // positions, each has some of the panels only.
  void run(ffi::ThreadPool& pool) const {
    const int64_t threads = pool.num_threads(), every = out / PANEL;
    const int64_t columns = width > ACROSS ? divided_up(divided_up(width, divided_up(width, ACROSS)), 16) * 16 : width;
    const int64_t across = divided_up(width, columns), most = INPUT_BYTES / (2 * apart() * (columns + 2)) - 2;
    const int64_t wanted = divided_up(height, std::max<int64_t>(2, most)) * across;
    const int64_t rows = divided_up(divided_up(height * across, divided_up(wanted, threads) * threads), 2) * 2;
    const int64_t blocks = divided_up(height, rows) * across;
    const int64_t panels = divided_up(every, divided_up(threads, blocks)), parts = divided_up(every, panels);
    // Those at the border have what is one beyond it, if it is wanted.
    const auto part = [&](int64_t number, int64_t each, int64_t count) {
      const int64_t begin = number * each, end = std::min(begin + each, count);
      const bool is_first = is_folded() && begin == 0, is_last = is_folded() && end == count;
      return std::pair(begin - is_first, end + is_last);
    };
    in_parallel(pool, blocks * parts, [&](int64_t i) {
      const auto [top, bottom] = part(i / parts / across, rows, height);
      const auto [left, right] = part(i / parts % across, columns, width);
      const int64_t first = i % parts * panels;
      run({top, bottom - top, left, right - left, first, std::min(first + panels, every)});
    });
  }
};

}  // namespace

#endif
