# SPDX-License-Identifier: Apache-2.0
# The public names, each once: type checkers read this file as it is, and __init__.py makes its table of it.
from filterlens.attribution.faig import FAIG as FAIG
from filterlens.attribution.faig import SquaredDistance as SquaredDistance
from filterlens.attribution.faig import Taylor as Taylor
from filterlens.attribution.goal_directed import GoalDirected as GoalDirected
from filterlens.attribution.image_free import AbsoluteChange as AbsoluteChange
from filterlens.attribution.image_free import LayerMatchedRandom as LayerMatchedRandom
from filterlens.attribution.image_free import MagnitudeMatchedRandom as MagnitudeMatchedRandom
from filterlens.attribution.image_free import Random as Random
from filterlens.attribution.image_free import RelativeChange as RelativeChange
from filterlens.attribution.input_ig import InputIG as InputIG
from filterlens.attribution.quadrature import Quadrature as Quadrature
from filterlens.attribution.result import Attribution as Attribution
from filterlens.degradations.pipeline import Degradation as Degradation
from filterlens.editing.adapt import adapt as adapt
from filterlens.editing.adapter import Adapter as Adapter
from filterlens.editing.dial import modulate as modulate
from filterlens.editing.dial import substitute as substitute
from filterlens.errors import FilterlensError as FilterlensError
from filterlens.errors import UsageError as UsageError
from filterlens.evaluation.damage_table import DamageTable as DamageTable
from filterlens.evaluation.damage_table import damage as damage
from filterlens.filters import FilterSpace as FilterSpace
from filterlens.filters import Selection as Selection
from filterlens.models.checkpoints import load_network as load_network
from filterlens.pair import ModelPair as ModelPair
from filterlens.version import __version__ as __version__
