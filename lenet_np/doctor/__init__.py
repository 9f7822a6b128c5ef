"""Whether this machine is ready for a training run: ``python -m lenet_np doctor``.

Nothing here is imported from outside the standard library before it is examined, because a
package that is missing or broken is what a doctor is called for.
"""
