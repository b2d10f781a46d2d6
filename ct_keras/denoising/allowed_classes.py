"""What a `.keras` file may be built of: stock layers and harmless operations.

Not in these lists, and so refused: whatever runs code from the file or from elsewhere
(Lambda, TFSMLayer, JaxLayer, TorchModuleWrapper, operations that take functions), reads
files (vocabularies), or has no place in a network for images.
"""

from __future__ import annotations

_LAYERS = """
    Activation ActivityRegularization Add AlphaDropout Attention Average
    AveragePooling2D AveragePooling3D BatchNormalization CenterCrop Concatenate Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose Cropping2D Cropping3D Dense DepthwiseConv2D
    Dot Dropout ELU EinsumDense Flatten GaussianDropout GaussianNoise
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention Identity InputLayer LayerNormalization
    LeakyReLU MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute RMSNormalization ReLU RepeatVector Rescaling Reshape
    Resizing SeparableConv2D Softmax SpatialDropout2D SpatialDropout3D
    SpectralNormalization Subtract UnitNormalization UpSampling2D UpSampling3D
    ZeroPadding2D ZeroPadding3D
"""
_OPERATIONS = """
    Abs Absolute Add All Any Argmax Argmin BroadcastTo Cast Ceil Clip Concatenate Cos
    Cumsum DepthToSpace Divide DivideNoNan Elu Equal Erf Exp ExpandDims Flip Floor
    FloorDivide Gelu GetItem Greater GreaterEqual HardSigmoid HardSilu HardTanh
    Isfinite LeakyRelu Less LessEqual Log Log1p LogSigmoid LogSoftmax LogicalAnd
    LogicalNot LogicalOr Logsumexp Matmul Max MaxPool Maximum Mean Min Minimum Mod
    Moments Moveaxis Multiply Negative Nonzero NotEqual OnesLike Pad Power Prod
    Reciprocal Relu Relu6 Reshape Resize Roll Round Rsqrt SaturateCast Selu Sigmoid Sign
    Silu Sin Slice SliceUpdate Softmax Softplus Softsign SpaceToDepth Split Sqrt Square
    Squeeze Stack Std StopGradient Subtract Sum Swapaxes Take TakeAlongAxis Tanh
    Transpose TrueDivide Unstack Var Where ZerosLike AveragePool
"""
_PARTS = """
    Functional Sequential DTypePolicy
    Constant GlorotNormal GlorotUniform HeNormal HeUniform IdentityInitializer
    LecunNormal LecunUniform Ones OrthogonalInitializer Orthogonal RandomNormal
    RandomUniform TruncatedNormal VarianceScaling Zeros SeedGenerator
    L1 L2 L1L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm
"""
#: By name; the module must be one of Keras.
CLASSES = frozenset(f"{_LAYERS} {_OPERATIONS} {_PARTS}".split())
#: Values that Keras writes like classes.
VALUES = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__"}
)
