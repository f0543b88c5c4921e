"""Inside a network of images: its filters, its maps, and what in an image it looks at."""

from thalweg.measure.inside.ascent import Maximized, maximize
from thalweg.measure.inside.cover import occlusion
from thalweg.measure.inside.filters import feature_maps, first_layer_filters
from thalweg.measure.inside.slopes import saliency

__all__ = ["Maximized", "feature_maps", "first_layer_filters", "maximize", "occlusion", "saliency"]
