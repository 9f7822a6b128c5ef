"""Hints: where to look, not what to write."""

from __future__ import annotations

#: By the code of a remark; a task may have its own.
HINTS = {
    # what gradcheck finds
    "wrong-sign": "Follow one entry by hand with numbers of your own; where does a minus come in?",
    "constant-factor": "Write the forward equation for one entry and differentiate it on paper: "
    "which factor is too much, or missing?",
    "batch-mean": "The gradient is that of a sum over the batch. Where do you average?",
    "transposed": "Write the shapes under the matrix product. Which order gives the right shape, "
    "and does it also add over the right axis?",
    "flipped-kernel": "Take an image that is 1 in one pixel. Which weight meets it, and at which "
    "output?",
    "overwrite-overlap": "A pixel seen by several windows adds to several outputs. What happens "
    "to the first share when the second arrives?",
    "border": "Look at the pixels at the edge: what was done to them before the windows, and what "
    "must be undone after?",
    "bias-sum": "To how many outputs is one bias added? Each of them sends something back.",
    "ties": "When two values are equal, how many of them passed through?",
    "upstream-ignored": "The chain rule has two factors. The one from above comes as an argument.",
    "other-input": "Compare the order of what you return with the docstring.",
    "first-example-only": "One index stays where it is while the batch goes by. Which?",
    "forward-wrong": "Compute one output by hand from the equation in the docstring and compare.",
    "stale-cache": "Something survives from one call to the next. The cache must hold what THIS "
    "call of forward saw.",
    "in-place": "An array that you are given belongs to the caller. Which of your lines writes "
    "into it (+=, out=, x[...] = ...)?",
    "depends-on-history": "The same call must give the same result. What do you keep outside the "
    "function?",
    "shape": "Print the shapes along the way and compare them with the docstring.",
    "nan": "Which of your operations divides, or takes a logarithm or a root?",
    "none": "Follow every path through the function to its return.",
    "number-of-gradients": "Compare what you return with the last lines of the docstring.",
    "exception": "Read the message and the line; print the shapes just above it.",
    "dtype": "Look at where you make new arrays: which dtype do they get?",
    "cache": "The docstring says that forward returns two things.",
    "axes-mixed": "Reshape keeps the order of the numbers, transpose does not. Which do you need?",
    "batch-sum": "The result is an average over the batch. Where does its divisor go?",
    "diagonal-only": "Which outputs change when one single input moves? Count them.",
    "inverted-mask": "Where x was positive, does anything of dy arrive?",
    "kinks": "Is your forward pass constant where it should not be, or rounded somewhere?",
    "last-example-only": "What happens to the first example's share when the second arrives?",
    "left-out": "Print the first and the last index of each of your loops.",
    "mask-of-upstream": "Whose sign decides: that of x, or that of dy?",
    "missing-factor": "Differentiate the forward equation for one entry; each product leaves a "
    "factor.",
    "missing-mask": "Where the output stays as it is when x moves, what is the derivative?",
    "missing-term": "By how many ways does an input reach the output? Add up all of them.",
    "not-deterministic": "The same call must give the same result. What is random, or counted?",
    "one-position-only": "One index stays where it is while the image goes by. Which?",
    "stride": "Where does the window of output (1, 1) begin when the stride is 2?",
    "dilation": "How far apart are two neighbouring weights on the image, in forward and backward?",
    "groups": "Which channels does one filter see in forward?",
    "wrong-mask": "Which entries did forward let through? Where is that kept?",
    "slope": "On which side of zero is it right? Differentiate the other side on paper.",
    "missing-way": "By how many ways does an input reach the output? Add up all of them.",
    "extra-way": "Which entries does one output depend on? Only they get something of its dy.",
    "ignored-input": "Does forward use everything that it is given?",
    "learns": "Gradients are returned; who makes the step?",
    "outputs": "The docstring says what forward returns.",
    "arguments": "Compare the arguments with those in the docstring.",
    "nearly-right": "A number was rounded, or an epsilon is in one of the two passes alone. Which?",
    "wrong-formula": "Is the formula one for the input or one for the output of forward?",
    "at-output": "Is the derivative one of the input or of the output of forward?",
    "spread-evenly": "If one entry moves a little, does the output follow?",
    "zero": "Follow one number of dy by hand: where does it get lost?",
    "unknown": "Try the smallest case that is still wrong, one example and one channel, by hand.",
    # what this kit finds besides
    "layout": "The layout is in the first lines of the file, and in every docstring.",
    "number-of-results": "Compare what you return with the last lines of the docstring.",
    "overflow": "The softmax stays the same when a number is subtracted from all logits. Which "
    "number makes every exponential harmless?",
    "order": "Compare the order of what you return with the docstring.",
    "weights": "A running mean weighs the old and the new, and the weights add up to one.",
    "corrected": "The correction belongs into the step; what is remembered stays uncorrected.",
    "bias-correction": "With m and v zero at the start, how large is m after the first step?",
    "epsilon": "There are two forms of Adam; the docstring says where epsilon stands in this one.",
    "square": "v has the unit of g squared; what must be done before it can divide m?",
    "not-applied": "The new parameter is wanted, not the way to it.",
    "sigma": "Sigma appears twice in the two equations: once on the way in, once on the way out.",
    "not-perturbed": "If every sample sees the same logits, what can the samples tell?",
    "sum-over-samples": "Twice as many samples must not give twice the gradient.",
    "baseline": "Read the definition of b_i again: which samples does it average?",
    "estimator-calls": "Keep what the first call returns.",
    "other-loss": "The surrogate is made of g and the logits alone.",
    "product": "The surrogate is linear in the logits, and g is held fixed.",
    "rate": "How far do the logits move?",
    "time-limit": "Does every loop come to an end? If it does, is there a loop over pixels that a "
    "slice could do at once?",
    "memory-limit": "Which array is large? Its size is the product of its shape times eight bytes.",
    "result": "Write files into the folder where your code runs, and nowhere else.",
    "no-exercise": "Keep the names of the functions as they were, and hand in .py or .ipynb files.",
    "exit": "A function returns; it does not end the program.",
    "crash": "Python itself crashed: recursion without an end, or a library used in a way that it "
    "does not stand.",
    "output-flood": "The check calls your functions many times; print less, or only once.",
    "input": "Write the numbers into the file, or test with a file of your own.",
    "signature": "Keep the names and the order of the arguments as they were.",
    "syntax": "Python reads up to this line or a little before it; look for what is left open.",
}
