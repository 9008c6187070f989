__version__: str

from . import (
    cells as cells,
    cost as cost,
    edge as edge,
    hub as hub,
    imprinting as imprinting,
    metrics as metrics,
    models as models,
    other_tokens as other_tokens,
    plots as plots,
    scale as scale,
    tasks as tasks,
    teachers as teachers,
)
from .adaptive import (
    LearnedTemperature as LearnedTemperature,
    UncertaintyAlpha as UncertaintyAlpha,
    cosine as cosine,
    linear as linear,
)
from .attributions import Attribution as Attribution, attribute as attribute
from .cached import CachedTeacher as CachedTeacher, cache_teacher as cache_teacher
from .claims import holds as holds
from .disagreement import Disagreements as Disagreements, disagreements as disagreements
from .divergences import (
    adaptive_kl as adaptive_kl,
    adaptive_skew_kl as adaptive_skew_kl,
    decoupled_kl as decoupled_kl,
    entropy as entropy,
    forward_kl as forward_kl,
    jsd as jsd,
    reverse_kl as reverse_kl,
    skew_forward_kl as skew_forward_kl,
    skew_reverse_kl as skew_reverse_kl,
    soft_cross_entropy as soft_cross_entropy,
    soften as soften,
    total_variation as total_variation,
    weighted as weighted,
)
from .endpoint import Endpoint as Endpoint
from .errors import DistilkitError as DistilkitError
from .glossary import explain as explain
from .hints import Hints as Hints
from .host import setup as setup
from .hub import fetch as fetch
from .insides import cka as cka, cka_by_layer as cka_by_layer, look_inside as look_inside
from .lessons import check as check, hint as hint, solution as solution
from .linear_loss import linear_kd_loss as linear_kd_loss
from .losses import (
    attention_loss as attention_loss,
    ctc_loss as ctc_loss,
    hidden_state_loss as hidden_state_loss,
    kd_loss as kd_loss,
    kd_terms as kd_terms,
    sampled_reverse_kl as sampled_reverse_kl,
    uld_loss as uld_loss,
)
from .metrics import compare as compare, interval as interval, paired as paired
from .models import Inputs as Inputs, load as load, predict as predict, save as save
from .other_tokens import OtherTokens as OtherTokens
from .pretrained import (
    classifier_model as classifier_model,
    image_model as image_model,
    language_model as language_model,
    seq2seq_model as seq2seq_model,
    smaller as smaller,
    speech_model as speech_model,
)
from .record import hand_in as hand_in
from .reports import report as report
from .setting import Setting as Setting
from .sources import Data as Data, read_data as read_data, write_csv as write_csv
from .sweeps import at_best_lr as at_best_lr, cell_means as cell_means, load_sweep as load_sweep, sweep as sweep
from .sweeps.adaptive import standings as standings
from .sweeps.arithmetic import problems_saved as problems_saved, step_means as step_means
from .sweeps.domains import domain_means as domain_means
from .sweeps.imprinting import imprinted_means as imprinted_means
from .sweeps.sizes import knees as knees, size_means as size_means
from .sweeps.teachers import teacher_means as teacher_means
from .teachers import recommend as recommend
from .training import Knobs as Knobs, Run as Run, Step as Step, distill as distill
from .transfer import (
    Examples as Examples,
    complete as complete,
    student_text as student_text,
    teacher_text as teacher_text,
)
from .widgets.ask import Question as Question, ask as ask
from .widgets.board import Board as Board, board as board
from .widgets.browse import Browser as Browser, browse as browse
from .widgets.budget import Budget as Budget, budget as budget
from .widgets.chat import Chat as Chat, chat as chat
from .widgets.explore import explore as explore
from .widgets.ladder import Ladder as Ladder, ladder as ladder
from .widgets.layers import Layers as Layers, layers as layers
from .widgets.lens import Lens as Lens, lens as lens, snapshots as snapshots
from .widgets.listen import Listening as Listening, listen as listen
from .widgets.matrix import Matrix as Matrix, matrix as matrix
from .widgets.playground import Playground as Playground, playground as playground
from .widgets.progress import Map as Map, progress as progress
from .widgets.race import Race as Race, race as race
from .widgets.scene import SceneView as SceneView, scene as scene
from .widgets.stepper import Stepper as Stepper, stepper as stepper
from .widgets.surface import Surface as Surface, surface as surface
from .widgets.tour import Tour as Tour, tour as tour
from .widgets.translate import Translator as Translator, translate as translate
from .widgets.watch import watch as watch
from .widgets.workbench import Workbench as Workbench, workbench as workbench
from .your_own import Own as Own, Trials as Trials, own as own, trials as trials
