"""The fused engine of the supernet: the function and gradients of the plain engine in less memory and time.

A cell of DARTS adds to every node the mixtures on its edges. The plain engine goes node after node, edge after edge,
candidate after candidate. The fused engine goes state after state: what leaves a state is its fan, which runs as a few
large operations and gives to all nodes that it feeds at once. A node is complete, and the next state, as soon as all
states before it have given.

    inputs -> preprocess -> states s0, s1                    state ---+---- families ----> maps [B, M * c, H', W']
                                                                      |                      |  one 1x1 convolution,
    s0   -> fan -> n2 n3 n4 n5                                        |                      |  batch norms folded in
    s1   -> fan -> n2 n3 n4 n5    n2 is complete: state s2            |                      v
    s2   -> fan ->    n3 n4 n5    n3 is complete: state s3            +---- passages ----> (+) -> T nodes, added to
    s3   -> fan ->       n4 n5    n4 is complete: state s4            |                      ^    their sums so far
    s4   -> fan ->          n5    n5 is complete: state s5            +---- others ----------+
                                                                     (operations it does not know)

The files in the order in which to read them:

    cell.py           a cell: states one after the other, each giving to the nodes that it feeds
    fan.py            what leaves one state: a mixture, and candidates that the engine does not know
    sorting.py        which candidates are which
    mixture.py        the mixtures of the known ones on all edges, forward
    backward.py       the same, backward
    families.py       what a family is; the families are in separable.py, dense.py and pools.py
    passages.py       what reaches the nodes without a batch norm: skip_connect, bare pools, channels that pass by
    preprocess.py     how a cell reads its inputs
    fold.py           a batch norm folded into the 1x1 convolution before it
    batch_norms.py    running statistics
    precision.py      matrix products of statistics, at full precision
    convolutions.py, parts.py, step.py    tools: backward passes of convolutions, tensors in parts, autograd functions

Letters of shapes, the same in all files:

    B  images                               H x W     pixels of a state
    C  channels of a state and of a node    H' x W'   pixels of the nodes: those of the state, or with stride 2 half
    K  1 / K of the channels is mixed       k x k     taps of a filter
    c  C / K channels that are mixed        P         positions, B * H * W
    T  nodes that a fan feeds               m         maps, convolutions or batch norms that run together
    M  maps of all families of a fan        p         weights a node of a passage
    X' after an operation what X is before it (c', C')

Gradients are called grad_x; `needed` says which ones a backward pass has to give.
"""
