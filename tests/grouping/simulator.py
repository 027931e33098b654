"""Scores of subsets with planted groups: how well task i does depends on whom it trains with."""

import numpy as np

# Group sizes, and B: what a partner in group h does to a task in group g.
STRUCTURES = {
    "none": ([10], [[1.0]]),
    "two": ([5, 5], [[1, -1], [-1, 1]]),
    "three": ([4, 3, 3], [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]),
    # The first two conflict; the third is neutral to both.
    "three_neutral": ([4, 3, 3], [[1, -1, 0], [-1, 1, 0], [0, 0, 1]]),
    "three_unequal": ([4, 3, 3], [[1, -2, -0.3], [-2, 1, -0.3], [-0.3, -0.3, 0.7]]),
    "four": ([2, 2, 3, 3], 2 * np.eye(4) - 1),
}


def simulate_scores(rng, structure, num_subsets, noise, subset_size=4):
    """Returns scores[m, n] (NaN outside the subset), subsets[m, n] and the planted groups[n].

    f_i(S) = offset_i + scale_i * (Σ_{j in S, not i} B[g_i, g_j] + noise), the noise's deviation
    given relative to the signal's.
    """
    sizes, effect = STRUCTURES[structure]
    effect = np.asarray(effect, dtype=float)
    num_tasks = sum(sizes)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    subsets = rng.permuted(np.tile(np.arange(num_tasks) < subset_size, (num_subsets, 1)), axis=1)
    between = effect[np.ix_(group, group)]
    np.fill_diagonal(between, 0.0)
    signal = subsets @ between.T
    deviation = np.mean([signal[subsets[:, i], i].std() for i in range(num_tasks)])
    deviation = deviation if deviation > 1e-9 else 1.0
    values = signal + noise * deviation * rng.normal(size=signal.shape)
    scores = 5.0 * rng.normal(size=num_tasks) + np.exp(rng.normal(size=num_tasks)) * values
    return np.where(subsets, scores, np.nan), subsets, group
