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

}  // namespace

#else

namespace {
inline bool may_multiply_halves() { return false; }
}  // namespace

#endif
