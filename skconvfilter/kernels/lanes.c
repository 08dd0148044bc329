/* One include of the template per instruction set and dtype, and the choice among them. */
#include "lanes.h"

#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#define X86 1
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define ATTRIBUTE(list) __attribute__(list)
#define UNROLL _Pragma("GCC unroll 48")
#define ALIGNED ATTRIBUTE((aligned(GROUP_BYTES)))
#define PREFETCH(address) __builtin_prefetch(address, 0, 2)
#else
#define INLINE static __forceinline
#define ATTRIBUTE(list)
#define UNROLL
#define ALIGNED __declspec(align(GROUP_BYTES))
#define PREFETCH(address) ((void)(address))
#endif

typedef enum { ACTIVE_MEAN_PATCHES, ACTIVATIONS, MEAN_PATCHES } mode;

/* The filters that are worked on next, of those that are left. */
#define FILTERS_AT_A_TIME(left) ((left) >= 4 ? 4 : (left) >= 2 ? 2 : 1)

INLINE int are_neighbours(const ptrdiff_t *base, ptrdiff_t n)
{
    int all = 1;
    for (ptrdiff_t j = 1; j < n; j++)
        all &= base[j] == base[0] + j;
    return all;
}

/* From the first to before the last of some entries of a patch. */
typedef struct {
    ptrdiff_t first, end;
} entries;

/* Those of a run that are not 0 in all patches of a tile; `step` as for a tile. */
INLINE entries nonzero_entries(const lanes_problem *problem, const int n_patches,
                               const int step, const ptrdiff_t *base, ptrdiff_t run)
{
    const ptrdiff_t length = problem->run_length, reach = step * (n_patches - 1);
    entries found = {run, run + length};
    if (problem->next_nonzero == NULL)
        return found;
    ptrdiff_t first = length, end = 0;
    for (int i = 0; i < (step ? 1 : n_patches); i++) {
        const ptrdiff_t start = base[i] + problem->tap[run];
        const ptrdiff_t next = problem->next_nonzero[start] - start - reach;
        const ptrdiff_t last = problem->last_nonzero[start + reach + length - 1] - start;
        first = next < first ? next : first;
        end = last + 1 > end ? last + 1 : end;
    }
    found.first += first < 0 ? 0 : first;
    found.end = run + (end < length ? end : length);
    return found;
}

/* The kernels of an instruction set for a dtype, as the template names them. */
#define KERNELS(isa, dtype)                                                             \
    {lanes_active_mean_patches_##isa##_##dtype, lanes_mean_activations_##isa##_##dtype, \
     lanes_mean_patches_##isa##_##dtype}
#define INSTRUCTION_SET(isa)                                                            \
    static const lanes_instruction_set isa = {#isa, KERNELS(isa, f32), KERNELS(isa, f64)};

#if X86

/* What is not among the intrinsics is named as if it were, so that OP finds it. Of a
 * maximum with NaN they return the second. */

#define ISA avx512
#define TARGET ATTRIBUTE((target("avx512f")))
#define TILE_1 8
#define TILE_2 8
#define TILE_4 6

INLINE TARGET __m512 _mm512_positive_ps(__m512 v)
{
    const __mmask16 mask = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_maskz_mov_ps(mask, _mm512_set1_ps(1));
}
INLINE TARGET __m512 _mm512_relu_ps(__m512 v)
{
    return _mm512_max_ps(_mm512_setzero_ps(), v);
}
INLINE TARGET __m512d _mm512_positive_pd(__m512d v)
{
    const __mmask8 mask = _mm512_cmp_pd_mask(v, _mm512_setzero_pd(), _CMP_GT_OQ);
    return _mm512_maskz_mov_pd(mask, _mm512_set1_pd(1));
}
INLINE TARGET __m512d _mm512_relu_pd(__m512d v)
{
    return _mm512_max_pd(_mm512_setzero_pd(), v);
}

#define DTYPE f32
#define REAL float
#define VEC __m512
#define WIDTH 16
#define OP(name) _mm512_##name##_ps
#include "lanes_template.h"

#define DTYPE f64
#define REAL double
#define VEC __m512d
#define WIDTH 8
#define OP(name) _mm512_##name##_pd
#include "lanes_template.h"

INSTRUCTION_SET(avx512)

#undef ISA
#undef TARGET
#undef TILE_1
#undef TILE_2
#undef TILE_4

#define ISA avx2
#define TARGET ATTRIBUTE((target("avx2,fma")))
#define TILE_1 8
#define TILE_2 4
#define TILE_4 3

INLINE TARGET __m256 _mm256_positive_ps(__m256 v)
{
    const __m256 mask = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_and_ps(mask, _mm256_set1_ps(1));
}
INLINE TARGET __m256 _mm256_relu_ps(__m256 v)
{
    return _mm256_max_ps(_mm256_setzero_ps(), v);
}
INLINE TARGET __m256d _mm256_positive_pd(__m256d v)
{
    const __m256d mask = _mm256_cmp_pd(v, _mm256_setzero_pd(), _CMP_GT_OQ);
    return _mm256_and_pd(mask, _mm256_set1_pd(1));
}
INLINE TARGET __m256d _mm256_relu_pd(__m256d v)
{
    return _mm256_max_pd(_mm256_setzero_pd(), v);
}

#define DTYPE f32
#define REAL float
#define VEC __m256
#define WIDTH 8
#define OP(name) _mm256_##name##_ps
#include "lanes_template.h"

#define DTYPE f64
#define REAL double
#define VEC __m256d
#define WIDTH 4
#define OP(name) _mm256_##name##_pd
#include "lanes_template.h"

INSTRUCTION_SET(avx2)

#undef ISA
#undef TARGET
#undef TILE_1
#undef TILE_2
#undef TILE_4

#endif /* X86 */

/* What every processor has: vectors of 16 bytes in the compiler's own types (SSE2 and NEON
 * among them), else scalars. */
#define ISA baseline
#define TARGET
#define TILE_1 8
#define TILE_2 4
#define TILE_4 3

#if defined(__GNUC__)
typedef float vector_f32 __attribute__((vector_size(16), may_alias));
typedef double vector_f64 __attribute__((vector_size(16), may_alias));
typedef int mask_f32 __attribute__((vector_size(16)));
typedef long long mask_f64 __attribute__((vector_size(16)));
#define POSITIVE(v, dtype) (vector_##dtype)((v > 0) & (mask_##dtype)vector_set1_##dtype(1))
#define RELU(v, dtype) (vector_##dtype)(~(v <= 0) & (mask_##dtype)v)
#else
typedef float vector_f32;
typedef double vector_f64;
#define POSITIVE(v, dtype) (vector_##dtype)(v > 0)
#define RELU(v, dtype) (v <= 0 ? 0 : v)
#endif

#define OPERATIONS(dtype, real)                                                         \
    INLINE vector_##dtype vector_load_##dtype(const real *from)                         \
    {                                                                                   \
        return *(const vector_##dtype *)from;                                           \
    }                                                                                   \
    INLINE void vector_store_##dtype(real *to, vector_##dtype v)                        \
    {                                                                                   \
        *(vector_##dtype *)to = v;                                                      \
    }                                                                                   \
    INLINE vector_##dtype vector_set1_##dtype(real s)                                   \
    {                                                                                   \
        const vector_##dtype zero = {0};                                                \
        return zero + s;                                                                \
    }                                                                                   \
    INLINE vector_##dtype vector_add_##dtype(vector_##dtype a, vector_##dtype b)        \
    {                                                                                   \
        return a + b;                                                                   \
    }                                                                                   \
    INLINE vector_##dtype vector_mul_##dtype(vector_##dtype a, vector_##dtype b)        \
    {                                                                                   \
        return a * b;                                                                   \
    }                                                                                   \
    INLINE vector_##dtype vector_fmadd_##dtype(vector_##dtype a, vector_##dtype b,      \
                                               vector_##dtype c)                        \
    {                                                                                   \
        return c + a * b;                                                               \
    }                                                                                   \
    INLINE vector_##dtype vector_positive_##dtype(vector_##dtype v)                     \
    {                                                                                   \
        return POSITIVE(v, dtype);                                                      \
    }                                                                                   \
    INLINE vector_##dtype vector_relu_##dtype(vector_##dtype v)                         \
    {                                                                                   \
        return RELU(v, dtype);                                                          \
    }
OPERATIONS(f32, float)
OPERATIONS(f64, double)

#define DTYPE f32
#define REAL float
#define VEC vector_f32
#define WIDTH ((ptrdiff_t)(sizeof(vector_f32) / sizeof(float)))
#define OP(name) vector_##name##_f32
#include "lanes_template.h"

#define DTYPE f64
#define REAL double
#define VEC vector_f64
#define WIDTH ((ptrdiff_t)(sizeof(vector_f64) / sizeof(double)))
#define OP(name) vector_##name##_f64
#include "lanes_template.h"

INSTRUCTION_SET(baseline)

#if X86 && defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
/* Numbers of the features in winnt.h; older headers lack the names. */
#define HAS_AVX2() IsProcessorFeaturePresent(40)
#define HAS_AVX512() IsProcessorFeaturePresent(41)
#elif X86
#define HAS_AVX2() (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define HAS_AVX512() __builtin_cpu_supports("avx512f")
#endif

ptrdiff_t lanes_instruction_sets(const lanes_instruction_set **sets)
{
    ptrdiff_t n = 0;
#if X86
    if (HAS_AVX512())
        sets[n++] = &avx512;
    if (HAS_AVX2())
        sets[n++] = &avx2;
#endif
    sets[n++] = &baseline;
    return n;
}

#define PACK(dtype, real)                                                               \
    void lanes_pack_##dtype(const real *rows, ptrdiff_t n_rows, ptrdiff_t row_step,     \
                            ptrdiff_t n_features, real *groups)                         \
    {                                                                                   \
        const ptrdiff_t lanes = GROUP_BYTES / sizeof(real);                             \
        for (ptrdiff_t first = 0; first < n_rows; first += lanes) {                     \
            const ptrdiff_t n = n_rows - first < lanes ? n_rows - first : lanes;        \
            if (n < lanes)                                                              \
                memset(groups, 0, (size_t)(n_features * lanes) * sizeof(real));         \
            for (ptrdiff_t j = 0; j < n_features; j++)                                  \
                for (ptrdiff_t lane = 0; lane < n; lane++)                              \
                    groups[j * lanes + lane] = rows[(first + lane) * row_step + j];     \
            groups += n_features * lanes;                                               \
        }                                                                               \
    }
PACK(f32, float)
PACK(f64, double)
