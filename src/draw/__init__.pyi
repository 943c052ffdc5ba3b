from . import attention as attention
from . import data as data
from . import figures as figures
from .attention import Window as Window
from .classifier import ClassifierConfig as ClassifierConfig
from .classifier import GlimpseClassifier as GlimpseClassifier
from .errors import DrawError as DrawError
from .evaluation import Classification as Classification
from .evaluation import Evaluation as Evaluation
from .evaluation import classify as classify
from .evaluation import evaluate as evaluate
from .model import DRAW as DRAW
from .model import DRAWConfig as DRAWConfig
from .objectives import bits_per_dim as bits_per_dim
from .objectives import elbo as elbo
from .objectives import iwae as iwae
from .objectives import log_weight as log_weight
from .storage.run_folder import RunFolder as RunFolder
from .trace import State as State
from .trace import Trace as Trace
from .training.config import TrainConfig as TrainConfig
from .training.loop import train as train
from .training.presets import PRESETS as PRESETS
from .zoo import load as load

__version__: str
