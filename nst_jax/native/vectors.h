// Vectors, matrix products and threads, for the operations in this folder.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

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

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef uint8_t Bytes __attribute__((vector_size(LANES)));
typedef uint8_t UnalignedBytes __attribute__((vector_size(LANES), aligned(1), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }

// Loads what a mask of bytes lets through, else zero.
inline Vector load_gated(const float* from, const uint8_t* gate) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  const __m128i open = _mm_loadu_si128(reinterpret_cast<const __m128i*>(gate));
  return (Vector)_mm512_maskz_loadu_ps(_mm_test_epi8_mask(open, open), from);
#else
  const Bytes open = *reinterpret_cast<const UnalignedBytes*>(gate);
  return (Vector)((Integers)load(from) & -__builtin_convertvector(open, Integers));
#endif
}

// Returns what is positive, else zero, and stores a mask of bytes where it is.
inline Vector rectified(uint8_t* positive, Vector v) {
  const Integers mask = v > 0;
  *reinterpret_cast<UnalignedBytes*>(positive) = __builtin_convertvector(-mask, Bytes);
  return (Vector)((Integers)v & mask);
}

inline void transpose(Vector v[LANES]) {
#if defined(__clang__)
  for (int i = 0; i < LANES; ++i)
    for (int j = 0; j < i; ++j) {
      const float other = v[i][j];
      v[i][j] = v[j][i];
      v[j][i] = other;
    }
#else
#pragma GCC unroll 16
  for (int step = 1; step < LANES; step *= 2)
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i) {
      if (i & step) continue;
      Integers low, high;
#pragma GCC unroll 16
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

inline int64_t divided_up(int64_t count, int64_t by) { return (count + by - 1) / by; }

// Channels are computed in panels of `COLUMNS`; of the last there may be a single vector.
inline int64_t panels(int64_t channels) { return divided_up(channels, COLUMNS); }

// Calls work with the vectors of a panel and its first channel.
template <typename Work>
void of_panel(int64_t number, int64_t channels, const Work& work) {
  const int64_t first = number * COLUMNS;
  if (first + COLUMNS <= channels)
    work(std::integral_constant<int, VECTORS>(), first);
  else
    work(std::integral_constant<int, 1>(), first);
}

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

// out = a b of (rows, depth) and (depth, vectors * LANES), or with `is_added` out + a b. The element (r, c) of a lies
// at r * row + c * column, the rows of b and out lie `right` and `to` apart.
struct Strides {
  int64_t row, column, right, to;
};

template <int rows, int vectors, bool is_added = false>
inline void product(const float* a, const float* b, float* out, int64_t depth, Strides strides) {
  Vector sums[rows][vectors] = {};
  if constexpr (is_added)
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) sums[r][v] = load(out + r * strides.to + v * LANES);
  for (int64_t c = 0; c < depth; ++c) {
    Vector right[vectors];
    for (int v = 0; v < vectors; ++v) right[v] = load(b + c * strides.right + v * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
      const float left = a[r * strides.row + c * strides.column];
      for (int v = 0; v < vectors; ++v) sums[r][v] += left * right[v];
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) store(out + r * strides.to + v * LANES, sums[r][v]);
}

template <int vectors, bool is_added, int rows = ROWS - 1>
inline void last_rows(int64_t left, const float* a, const float* b, float* out, int64_t depth, Strides strides) {
  if constexpr (rows > 0) {
    if (left == rows)
      product<rows, vectors, is_added>(a, b, out, depth, strides);
    else
      last_rows<vectors, is_added, rows - 1>(left, a, b, out, depth, strides);
  }
}

// The same of any number of rows.
template <int vectors, bool is_added = false>
inline void multiply(int64_t count, const float* a, const float* b, float* out, int64_t depth, Strides strides) {
  int64_t r = 0;
  for (; r + ROWS <= count; r += ROWS)
    product<ROWS, vectors, is_added>(a + r * strides.row, b, out + r * strides.to, depth, strides);
  last_rows<vectors, is_added>(count - r, a + r * strides.row, b, out + r * strides.to, depth, strides);
}

}  // namespace
