// Numbers as sums of two in bfloat16, and the matrix units (AMX) of processors that multiply these.
//
// x = h + l, h the nearest to x in bfloat16 and l the nearest to what is left, has 16 bits of x. A product is
// h h' + h l' + l h', added up in float32 (as XLA's BF16_BF16_F32_X3): results are within 2e-5 of those in float32, as
// by Winograd's tiles.

#pragma once

#include "vectors.h"

#if (defined(__AMX_BF16__) || defined(__AMXBF16__)) && defined(__AVX512BF16__) && defined(__linux__)  // GCC, Clang 14
#define NST_JAX_HALVES
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Asks the system to keep the registers of matrix units for this process. There may be none: a system may be older than
// the processor, or a signal's stack too small.
inline bool may_multiply_halves() {
  constexpr int REQUEST = 0x1023, TILES = 18;  // ARCH_REQ_XCOMP_PERM, XTILEDATA
  return syscall(SYS_arch_prctl, REQUEST, TILES) == 0;
}

// While this lives, tiles of its thread are of 16 rows of 64 bytes. They load what was written before it.
struct Tiles {
  static constexpr int ROWS = 16, BYTES = 64, COUNT = 8;

  Tiles() {
    alignas(64) uint8_t palette[64] = {1};
    for (int i = 0; i < COUNT; ++i) {
      palette[16 + 2 * i] = BYTES;
      palette[48 + i] = ROWS;
    }
    asm volatile("" ::"r"(palette) : "memory");  // GCC 12 believes that loads of tiles and of this read nothing
    _tile_loadconfig(palette);
  }
  ~Tiles() { _tile_release(); }
};

constexpr int HALVES = 2 * LANES;  // numbers that are split at once

inline Vector widened(__m256i halves) { return (Vector)_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16); }

// Numbers of two vectors as halves.
inline void split(Vector a, Vector b, uint16_t* high, uint16_t* low) {
  const __m512i h = (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
  a -= widened(_mm512_castsi512_si256(h));
  b -= widened(_mm512_extracti64x4_epi64(h, 1));
  _mm512_storeu_si512(high, h);
  _mm512_storeu_si512(low, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
}

// A left matrix of halves is multiplied by 16 rows of 32 high ones and of as many low ones, wherever these lie. A right
// one is arranged in tiles of 16 columns and 16 pairs of rows, a high one and a low one by turns, column by column.

constexpr int64_t TILE = Tiles::ROWS * LANES, PANEL = 2 * LANES;  // of numbers in 32 bits, and columns of two tiles

// to = a sum of products, (32, 32). For step s these are of 16 rows from a + shift(s) on and as many from b + shift(s) on,
// which lie `apart`, and their low ones `low` further, by the tiles at `right` and those of the column `second` further.
template <typename Shift>
void multiply(const uint16_t* a, const uint16_t* b, int64_t apart, int64_t low, const Shift& shift, int64_t steps,
              const float* right, int64_t second, float* to) {
  constexpr int64_t STRIDE = 4 * PANEL;
  const int64_t bytes = 2 * apart;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t s = 0; s < steps; ++s, right += 2 * TILE) {
    const uint16_t *top = a + shift(s), *bottom = b + shift(s);
    // Meanwhile, a part after each product, the tiles that come next are on their way to the nearest cache.
    const auto fetch = [&](int part) {
      const float* next = right + 2 * TILE + 3 * part * LANES;
      for (int line = 0; line < 3; ++line, next += LANES) {
        _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(next + second), _MM_HINT_T0);
      }
    };
    _tile_loadd(4, right, Tiles::BYTES);
    _tile_loadd(5, right + second, Tiles::BYTES);
    _tile_loadd(6, top + low, bytes);
    _tile_dpbf16ps(0, 6, 4); fetch(0);
    _tile_dpbf16ps(1, 6, 5); fetch(1);
    _tile_loadd(7, bottom + low, bytes);
    _tile_dpbf16ps(2, 7, 4); fetch(2);
    _tile_dpbf16ps(3, 7, 5); fetch(3);
    _tile_loadd(6, top, bytes);
    _tile_dpbf16ps(0, 6, 4); fetch(4);
    _tile_dpbf16ps(1, 6, 5); fetch(5);
    _tile_loadd(7, bottom, bytes);
    _tile_dpbf16ps(2, 7, 4); fetch(6);
    _tile_dpbf16ps(3, 7, 5); fetch(7);
    _tile_loadd(4, right + TILE, Tiles::BYTES);
    _tile_dpbf16ps(0, 6, 4); fetch(8);
    _tile_dpbf16ps(2, 7, 4); fetch(9);
    _tile_loadd(5, right + second + TILE, Tiles::BYTES);
    _tile_dpbf16ps(1, 6, 5); fetch(10);
    _tile_dpbf16ps(3, 7, 5);
  }
  _tile_stored(0, to, STRIDE);
  _tile_stored(1, to + LANES, STRIDE);
  _tile_stored(2, to + Tiles::ROWS * PANEL, STRIDE);
  _tile_stored(3, to + Tiles::ROWS * PANEL + LANES, STRIDE);
}

}  // namespace

#else

namespace {
inline bool may_multiply_halves() { return false; }
}  // namespace

#endif
