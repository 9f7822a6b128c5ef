"""LeNet-5, as the table of the lesson (after LeCun et al. 1998, section II.B)."""

from __future__ import annotations

from lenet_np.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential


def lenet5() -> Sequential:
    """Build the network: 32x32 grey images in, ten linear logits out, 61,706 parameters.

    Each maximum comes before its ReLU. The two commute, max(relu(x)) = relu(max(x)), with the
    same gradients; in this order the ReLU has a quarter of the work.
    """
    return Sequential(
        input_shape=(1, 32, 32),
        layers=(
            #                                            output       parameters
            ("conv1", Conv2d(filters=6, kernel=5)),  #   6 x 28 x 28         156
            ("pool1", MaxPool2d(window=2, stride=2)),  # 6 x 14 x 14
            ("relu1", ReLU()),
            ("conv2", Conv2d(filters=16, kernel=5)),  # 16 x 10 x 10       2,416
            ("pool2", MaxPool2d(window=2, stride=2)),  # 16 x 5 x 5
            ("relu2", ReLU()),
            ("flatten", Flatten()),  #                  400
            ("dense1", Dense(120)),  #                  120               48,120
            ("relu3", ReLU()),
            ("dense2", Dense(84)),  #                    84               10,164
            ("relu4", ReLU()),
            ("logits", Dense(10)),  #                    10                  850
        ),
    )
