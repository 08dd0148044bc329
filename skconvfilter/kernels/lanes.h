/* The kernels over samples in SIMD lanes: one table of functions per instruction set and
 * dtype. A group is LANES = 64 / sizeof(real) samples side by side: element j of all of
 * them, then element j + 1, so that whatever the geometry, the same element of the
 * patches of a whole group is one contiguous, aligned load. */
#ifndef SKCONVFILTER_LANES_H
#define SKCONVFILTER_LANES_H

#include <stddef.h>

#define GROUP_BYTES 64
/* Filters that are worked on at a time. */
#define MAX_FILTERS 4

typedef struct {
    ptrdiff_t n_groups, n_features, n_patches, patch_dim, n_filters;
    const ptrdiff_t *base; /* (n_patches,): offset of a patch in its sample */
    const ptrdiff_t *tap;  /* (patch_dim,): offset of an entry in its patch */
    const void *gate; /* NULL or a filter: only patches active for it count */
    /* 1: a filter has one entry more, its bias, which is added to every preactivation, and
     * active_mean_patches has one row more, the share of the active patches. */
    ptrdiff_t has_bias;
    /* NULL, or for every element of a sample the next and the last, itself included, that
     * is not 0 in all samples, (n_features,) each; n_features and -1 where there is none.
     * Products with the others are then left out. */
    const ptrdiff_t *next_nonzero, *last_nonzero;
    /* The entries of a patch are runs of this many neighbours in the sample; whether they
     * are many and long, so that it pays to let several tiles go through one run after
     * another, as the elements that they share stay in the cache. If not, `run_length` is
     * patch_dim. */
    ptrdiff_t run_length, long_runs;
} lanes_problem;

/* All pointers are to float or to double, as the table says; with L lanes,
 *
 * groups   (n_groups, n_features, L), aligned to GROUP_BYTES
 * filters  (n_filters, n_weights), with n_weights = patch_dim + has_bias, and so is the
 *          gate; not read by mean_patches, which has one filter and no bias
 * scratch  n_weights * (MAX_FILTERS * L + n_filters) elements, aligned to GROUP_BYTES
 * out      (n_filters, n_weights, n_groups * L) for active_mean_patches and mean_patches,
 *          (n_filters, n_groups * L) for mean_activations, which ignores the gate */
typedef void (*lanes_kernel)(const lanes_problem *problem, const void *groups,
                             const void *filters, void *scratch, void *out);

typedef struct {
    lanes_kernel active_mean_patches, mean_activations, mean_patches;
} lanes_kernels;

typedef struct {
    const char *name;
    lanes_kernels f32, f64;
} lanes_instruction_set;

#define MAX_INSTRUCTION_SETS 3

/* Fills in the instruction sets of this machine, best first, and returns their number. */
ptrdiff_t lanes_instruction_sets(const lanes_instruction_set **sets);

/* Rows, `row_step` elements apart, to groups; lanes without a row are 0. */
void lanes_pack_f32(const float *rows, ptrdiff_t n_rows, ptrdiff_t row_step,
                    ptrdiff_t n_features, float *groups);
void lanes_pack_f64(const double *rows, ptrdiff_t n_rows, ptrdiff_t row_step,
                    ptrdiff_t n_features, double *groups);

#endif
