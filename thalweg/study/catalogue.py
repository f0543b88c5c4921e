"""The studies by name, each with the claim that it puts to the test; reading this imports no torch."""

STUDIES: dict[str, str] = {
    "learning-rate": "A learning rate that is too low crawls, a good one descends, one that is too high oscillates, "
    "and one that is far too high diverges.",
    "optimizer": "After equal epochs, each at its own tuned rate: SGD is ahead of gradient descent on the whole set; "
    "momentum, RMSProp and Adam are ahead of SGD; decay ends lower than a constant rate; warm-up saves a rate that is "
    "too high to start with.",
    "batch-size": "The noise of a batch's gradient falls as 1/B; a larger batch makes an epoch cheaper, and has "
    "learned less after equal epochs at the same rate.",
    "local-optima": "Which minimum training finds depends on where it starts; and in a wide network the minima that "
    "different starts find are more alike in loss than in a narrow one.",
    "vanishing": "In a deep sigmoid network the gradient vanishes on its way back to the first layer; ReLU with "
    "He's initial weights, batch norm and residual connections each keep it alive.",
    "softmax": "Softmax with a falling temperature becomes argmax; its largest value is no confidence: a trained "
    "network claims more than it gets right, and one temperature fitted on validation data mends much of that.",
    "depth": "A deeper plain network has a higher train loss than a shallower one of the same family after equal "
    "epochs, each at its own tuned rate; residual connections repair it.",
    "receptive-field": "A network learns a pattern as soon as its receptive field reaches across it and not before: "
    "two 3 x 3 layers see 5 x 5; depth, dilation, stride and pooling repair a field that is too small; and the "
    "effective field is smaller than the theoretical one.",
    "sharing": "Of three networks whose layers have the same outputs, fully connected, locally connected and "
    "convolutional, the one that shares weights has the fewest of them, is most accurate on digits that stand "
    "anywhere in the image, and is ahead by most with the least data.",
    "pooling": "Pooling cuts the multiplications and the time of a convolutional network, at hardly any accuracy.",
    "batch-norm": "Batch norm makes the error surface smoother along the gradient and lets far higher learning rates "
    "train; and the smaller the batch, the further a network in training is from the same one in evaluation.",
    "validation": "A single validation split misses the true accuracy by more than k-fold cross-validation does; and "
    "the best of many models scores higher on the data that chose it than it really is.",
    "augmentation": "A CNN trained on upright digits is lost on turned and on scaled ones; augmentation brings most of "
    "that accuracy back, at little cost on upright digits.",
    "spatial-transformer": "With the same training on turned digits and about as many parameters, a CNN behind a "
    "spatial transformer is right about turned digits more often than a CNN alone, whether it learns any affine warp "
    "or a rotation alone; and it does so by undoing most of the rotation.",
    "attention-vs-cnn": "With few examples a CNN is right more often than self-attention with about as many "
    "parameters; with many examples self-attention is.",
    "norm": "In a Transformer layer norm ends at a lower loss than batch norm, whose statistics swing more from batch "
    "to batch than a CNN's, and power norm mends that; in a causal one batch norm lets each position see those after "
    "it, and layer norm does not.",
    "graph": "From a few labelled nodes, networks that see the edges of a graph, GCN and GAT, are right about the "
    "other nodes more often than an MLP that sees each node alone; and where each node stands at another's place in "
    "the same graph, so that its edges say nothing about it, that is lost.",
    "position": "Without positions self-attention is equivariant to permutations, and can only guess which of two "
    "tokens comes first; told positions of any of four kinds it knows. At twice the length of training, positions in "
    "the scores (relative, rotary) hold better than those added to the inputs (sinusoidal, learned); at four times "
    "none is as good.",
    "truncate": "Attention in windows answers what lies within layers x window and guesses beyond, whether a window or "
    "a layer more reaches it; a window that reaches everything is as accurate as full attention, and the multiply-adds "
    "of a step fall with the window.",
    "rnn-vs-attention": "With as many parameters and steps, attention recalls the first of many tokens where LSTM and "
    "GRU, which recall it from near, no longer do, and local attention cannot beyond layers x window; the price is a "
    "step that grows faster than the length, where theirs grow as the length.",
    "copy": "A recurrent network with attention that may copy from its source spells the German and Dutch names of the "
    "world with fewer mistakes than one that only generates, and Russian ones, which share no letter with English, "
    "with hardly fewer.",
    "copy-span": "A network that may copy puts out marked words of a text that training never saw as surely as those "
    "it saw; one that only generates puts out none of them.",
    "beam": "A wider beam finds likelier outputs, at a price; ranked by likelihood alone they are shorter the wider "
    "the beam, which the mean over the tokens mends; and the widest beam makes no fewer mistakes than one of four, "
    "though four make fewer than one.",
    "scheduled-sampling": "A decoder that is trained after gold prefixes alone goes on worse after its own than after "
    "gold ones; less so where it was given wrong, confusable or its own inputs in training, a recurrent one step by "
    "step, a Transformer in two passes; and own inputs make it spell names with fewer mistakes.",
    "guided-attention": "Where source and target go along together, as in speech and from spelling to sound, attention "
    "by content that is guided along the diagonal learns sooner and looks in the right places more; of speech, "
    "location-aware attention, which finds them by itself, gains less by it; and where the target is said backwards, "
    "guidance delays what is learned.",
    "reward": "Trained further for BLEU as its reward, self-critically or by minimum risk, a trained network spells "
    "the German names of the world with a higher BLEU than before, and than as many updates of its likelihood give "
    "it; self-critically its likelihood is the lower for it.",
    "tree": "A recurrent network with attention puts out the trees of expressions as brackets: most are trees before "
    "any repair, with far more of the right brackets than trees that branch to one side; and of longer expressions "
    "than it was trained on, a beam search that is held to trees finds better ones than repair makes of what it "
    "finds else.",
    "multi-label": "Where labels depend on each other given the text, a network that puts them out one after "
    "the other gets more sets wholly right than independent sigmoids on the same encoder, which get more single labels "
    "right; where they do not, it gets as many, and more by a fixed order than by a random one.",
}
"""Name -> claim."""
