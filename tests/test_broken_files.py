"""Every kind of broken sweep file, and the one line it is told in.

A new check in `tuning` belongs here with the file that it refuses.
"""

import pytest

from trainables.errors import UserError
from tuning.spec_file import load_spec

# name, the file's text, the whole message
BROKEN: list[tuple[str, str | bytes, str]] = [
    (
        "empty",
        b"",
        "sweep.yaml: the file is empty; `tune init` copies out a file to start from",
    ),
    (
        "only a comment",
        "# nothing yet\n",
        "sweep.yaml: the file is empty; `tune init` copies out a file to start from",
    ),
    (
        "a list at the top",
        "- lr\n- momentum\n",
        "sweep.yaml:1: a list at the top: expected sections such as `trial:` and `space:`",
    ),
    (
        "a single value",
        "resnet18\n",
        "sweep.yaml:1: a single value at the top: expected sections such as `trial:` and `space:`",
    ),
    (
        "not UTF-8",
        b"trial:\n  model: r\xe9snet\n",
        "sweep.yaml:2: not UTF-8 text; save the file as UTF-8",
    ),
    (
        "a NUL byte",
        b"trial:\n  model: a\x00b\n",
        "sweep.yaml:2: a character that no text file has: got '\\x00'",
    ),
    (
        "a control character by escape",
        'trial:\n  model: "a\\0b"\n',
        "sweep.yaml:2: a character that cannot be printed: got 'a\\x00b'",
    ),
    (
        "half a surrogate pair",
        'trial:\n  model: "\\ud800"\n',
        "sweep.yaml:2: a character that cannot be printed: got '\\ud800'",
    ),
    (
        "an escape out of range",
        'trial:\n  model: "\\UFFFFFFFF"\n',
        "sweep.yaml: not YAML: a number in an escape or directive is out of range",
    ),
    (
        "indented by a tab",
        "trial:\n\tlr: 0.1\n",
        "sweep.yaml:2: not YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs",
    ),
    (
        "no space after the colon",
        "trial:\n  lr:0.1\n  epochs: 3\n",
        "sweep.yaml:3: not YAML: mapping values are not allowed here; is a space missing after a colon, a line "
        "indented differently, or text with a colon not in quotes?",
    ),
    (
        "indented unevenly",
        "trial:\n  lr: 0.1\n   epochs: 3\n",
        "sweep.yaml:3: not YAML: mapping values are not allowed here; is a space missing after a colon, a line "
        "indented differently, or text with a colon not in quotes?",
    ),
    (
        "an open list",
        "space:\n  batch_size: [16, 32\nsearch:\n  trials: 3\n",
        "sweep.yaml:3: not YAML: expected ',' or ']', but got ':'; close the list with ]",
    ),
    (
        "open braces",
        "space:\n  lr: {low: 0.1, high: 0.2\n",
        "sweep.yaml:3: not YAML: expected ',' or '}', but got '<stream end>'; close the braces with }",
    ),
    (
        "an open quote",
        "trial:\n  model: 'resnet18\n",
        "sweep.yaml:3: not YAML: found unexpected end of stream; close the quote",
    ),
    (
        "a colon inside text",
        "trial:\n  model: resnet: 18\n",
        "sweep.yaml:2: not YAML: mapping values are not allowed here; is a space missing after a colon, a line "
        "indented differently, or text with a colon not in quotes?",
    ),
    (
        "a duplicate section",
        "trial:\n  lr: 0.1\nspace:\n  momentum: [0.1, 0.2]\ntrial:\n  epochs: 3\n",
        "sweep.yaml:5: trial stands here and on line 1",
    ),
    (
        "a duplicate setting",
        "trial:\n  lr: 0.1\n  epochs: 3\n  lr: 0.2\n",
        "sweep.yaml:4: trial.lr stands here and on line 2",
    ),
    (
        "an alias bomb",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "sweep.yaml:1: anchors (&) and aliases (*) are not allowed; write the value out, or in quotes where it is text",
    ),
    (
        "a wildcard taken for an alias",
        "data:\n  path: *.jpg\n",
        "sweep.yaml:2: not YAML: expected alphabetic or numeric character, but found '.'; put text that starts "
        "with * or & in quotes",
    ),
    (
        "a Python tag",
        "trial:\n  model: !!python/object/apply:os.system [ls]\n",
        "sweep.yaml:2: tags (!) are not allowed: got 'tag:yaml.org,2002:python/object/apply:os.system'",
    ),
    (
        "a plain tag",
        "trial:\n  epochs: !!int '3'\n",
        "sweep.yaml:2: tags (!) are not allowed: got 'tag:yaml.org,2002:int'",
    ),
    (
        "two documents",
        "trial:\n  lr: 0.1\n---\ntrial:\n  lr: 0.2\n",
        "sweep.yaml:3: a second document in the file; remove `---`",
    ),
    (
        "nested too deep",
        "trial: " + "[" * 200 + "]" * 200 + "\n",
        "sweep.yaml:1: nested too deep: expected at most 8 levels",
    ),
    (
        "a key that is a list",
        "trial:\n  ? [lr]\n  : 0.1\n",
        "sweep.yaml:2: a key that is no word: expected `name: value`",
    ),
    (
        "a merge key",
        "trial:\n  <<: {lr: 0.1}\n",
        "sweep.yaml:2: trial.<<: unknown setting",
    ),
    (
        "a section misspelt",
        "trail:\n  lr: 0.1\n",
        "sweep.yaml:1: trail: unknown section: expected one of data, trial, space, search, resources; did you "
        "mean 'trial'?",
    ),
    (
        "a setting at the top",
        "lr: 0.1\n",
        "sweep.yaml:1: lr: unknown section: expected one of data, trial, space, search, resources; it belongs "
        "under `trial:`",
    ),
    (
        "a section that is a list",
        "trial:\n  - lr: 0.1\n",
        "sweep.yaml:1: trial: wrong type: got [{lr: 0.1}], expected settings, one `name: value` a line, indented",
    ),
    (
        "a section that is a value",
        "search: 5\n",
        "sweep.yaml:1: search: wrong type: got 5, expected settings, one `name: value` a line, indented",
    ),
    (
        "a setting misspelt",
        "trial:\n  momentun: 0.9\n",
        "sweep.yaml:2: trial.momentun: unknown setting; did you mean 'momentum'?",
    ),
    (
        "a setting that is none",
        "trial:\n  betas: 0.9\n",
        "sweep.yaml:2: trial.betas: unknown setting; did you mean 'beta2'?",
    ),
    (
        "a setting in the wrong section",
        "trial:\n  trials: 5\n",
        "sweep.yaml:2: trial.trials: unknown setting; it belongs under `search:`",
    ),
    (
        "a setting of data in the wrong section",
        "trial:\n  path: pics\n",
        "sweep.yaml:2: trial.path: unknown setting; it belongs under `data:`",
    ),
    (
        "an explored setting misspelt",
        "space:\n  batchsize: [16, 32]\n",
        "sweep.yaml:2: space.batchsize: unknown setting; did you mean 'batch_size'?",
    ),
    (
        "a search setting that is explored",
        "space:\n  sampler: [tpe, random]\n",
        "sweep.yaml:2: space.sampler: unknown setting; it belongs under `search:`",
    ),
    (
        "fixed and explored",
        "trial:\n  lr: 0.1\nspace:\n  lr: {low: 0.1, high: 0.2}\n",
        "sweep.yaml:4: space.lr: lr is fixed as well, at sweep.yaml:2; keep it under `trial:` or under `space:`",
    ),
    (
        "a word for a number",
        "trial:\n  epochs: three\n",
        "sweep.yaml:2: trial.epochs: wrong type: got 'three', expected whole number ≥ 1 and ≤ 99,999",
    ),
    (
        "text for a number",
        "trial:\n  lr: '0.1'\n",
        "sweep.yaml:2: trial.lr: wrong type: got '0.1', expected number > 0 and < 1,000; write it without quotes",
    ),
    (
        "true for a number",
        "trial:\n  epochs: true\n",
        "sweep.yaml:2: trial.epochs: wrong type: got true, expected whole number ≥ 1 and ≤ 99,999",
    ),
    (
        "a number for true",
        "trial:\n  nesterov: 1\n",
        "sweep.yaml:2: trial.nesterov: wrong type: got 1, expected true or false",
    ),
    (
        "yes for true",
        "trial:\n  nesterov: yes\n",
        "sweep.yaml:2: trial.nesterov: wrong type: got 'yes', expected true or false; write true",
    ),
    (
        "a number for a name",
        "trial:\n  model: 18\n",
        "sweep.yaml:2: trial.model: wrong type: got 18, expected text; put it in quotes",
    ),
    (
        "nothing for a number",
        "trial:\n  lr:\n",
        "sweep.yaml:2: trial.lr: wrong type: got nothing, expected number > 0 and < 1,000",
    ),
    (
        "a fraction for a whole number",
        "trial:\n  epochs: 2.5\n",
        "sweep.yaml:2: trial.epochs: wrong type: got 2.5, expected whole number ≥ 1 and ≤ 99,999",
    ),
    (
        "not a number",
        "trial:\n  lr: .nan\n",
        "sweep.yaml:2: trial.lr: not a finite number: got nan, expected number > 0 and < 1,000",
    ),
    (
        "infinite",
        "trial:\n  weight_decay: .inf\n",
        "sweep.yaml:2: trial.weight_decay: not a finite number: got inf, expected number ≥ 0",
    ),
    (
        "below the limit",
        "trial:\n  epochs: 0\n",
        "sweep.yaml:2: trial.epochs: out of range: got 0, expected whole number ≥ 1 and ≤ 99,999",
    ),
    (
        "above the limit",
        "trial:\n  momentum: 1.0\n",
        "sweep.yaml:2: trial.momentum: out of range: got 1.0, expected number ≥ 0 and < 1",
    ),
    (
        "beyond every limit",
        "trial:\n  epochs: 100000\n",
        "sweep.yaml:2: trial.epochs: out of range: got 100000, expected whole number ≥ 1 and ≤ 99,999",
    ),
    (
        "beyond what every file can hold",
        "trial:\n  batch_size: 99999999999999999999\n",
        "sweep.yaml:2: trial.batch_size: out of range: got 99999999999999999999, expected at most "
        "9,007,199,254,740,992 either way from 0",
    ),
    (
        "a choice misspelt",
        "trial:\n  optimizer: adamm\n",
        "sweep.yaml:2: trial.optimizer: no such choice: got 'adamm', expected one of sgd, asgd, "
        "adadelta, adagrad, adam, adamw, adamax, nadam, radam, rmsprop, rprop, lbfgs, "
        "sparse_adam; did you mean 'adam'?",
    ),
    (
        "a choice that is none",
        "trial:\n  schedule: bell\n",
        "sweep.yaml:2: trial.schedule: no such choice: got 'bell', expected one of step, multistep, exponential, "
        "cosine, one_cycle, plateau, constant",
    ),
    (
        "choices under trial",
        "trial:\n  batch_size: [16, 32]\n",
        "sweep.yaml:2: trial.batch_size: wrong type: got [16, 32], expected whole number ≥ 1; what a sweep "
        "explores stands under `space:`",
    ),
    (
        "choices where a sweep has one",
        "data:\n  val: [0.1, 0.2]\n",
        "sweep.yaml:2: data.val: wrong type: got [0.1, 0.2], expected number > 0 and < 1; the same for a whole sweep",
    ),
    (
        "a range under trial",
        "trial:\n  lr: {low: 0.1, high: 0.2}\n",
        "sweep.yaml:2: trial.lr: wrong type: got {low: 0.1, high: 0.2}, expected number > 0 and < 1,000; what "
        "a sweep explores stands under `space:`",
    ),
    (
        "no trials",
        "search:\n  trials: 0\n",
        "sweep.yaml:2: search.trials: out of range: got 0, expected whole number ≥ 1",
    ),
    (
        "negative hours",
        "search:\n  hours: -1\n",
        "sweep.yaml:2: search.hours: out of range: got -1, expected number > 0 or nothing",
    ),
    (
        "an unknown metric",
        "search:\n  metric: accuracy\n",
        "sweep.yaml:2: search.metric: no such choice: got 'accuracy', expected one of auto, val_accuracy, val_top5, "
        "val_balanced_accuracy, val_f1, val_auroc, val_map, val_mae, val_rmse, val_r2, val_loss; "
        "did you mean 'val_accuracy'?",
    ),
    (
        "an unknown pruner",
        "search:\n  pruner: hyperband\n",
        "sweep.yaml:2: search.pruner: no such choice: got 'hyperband', expected one of asha, median, none",
    ),
    (
        "an inline storage",
        "storage: sqlite:///a.db\n",
        "sweep.yaml:1: storage: unknown section: expected one of data, trial, space, search, resources;"
        " it belongs under `search:`",
    ),
    (
        "no CPU",
        "resources:\n  cpus_per_trial: 0\n",
        "sweep.yaml:2: resources.cpus_per_trial: out of range: got 0, expected number > 0",
    ),
    (
        "one GPU and a half",
        "space:\n  lr: [0.1, 0.2]\nresources:\n  gpus_per_trial: 1.5\n",
        "sweep.yaml:4: resources.gpus_per_trial: out of range: got 1.5, expected auto or number ≥ 0 and ≤ 1",
    ),
    (
        "GPUs misspelt",
        "resources:\n  gpus_per_trial: al\n",
        "sweep.yaml:2: resources.gpus_per_trial: no such choice: got 'al', expected auto or number ≥ 0 and ≤ 1",
    ),
    (
        "no workers",
        "resources:\n  workers: 0\n",
        "sweep.yaml:2: resources.workers: out of range: got 0, expected whole number ≥ 1 or nothing",
    ),
    (
        "a folder without a path",
        "data:\n  source: folder\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: data.source: folder needs data.path: expected the path of a folder of pictures",
    ),
    (
        "digits with a path",
        "data:\n  path: pics\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: data.path: no setting of digits: got 'pics'; it is for `source: folder` or `source: flat` or"
        " `source: csv`",
    ),
    (
        "a table without a path",
        "data:\n  source: csv\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: data.source: csv needs data.path: expected the path of a CSV file",
    ),
    (
        "a pattern for folders",
        "data:\n  source: folder\n  path: pics\n  pattern: <label>.*\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:4: data.pattern: no setting of folder: got '<label>.*'; it is for `source: flat`",
    ),
    (
        "a pattern without a label",
        "data:\n  source: flat\n  path: pics\n  pattern: '*.jpg'\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:4: data.pattern: it must have <label> once: got '*.jpg', expected a name with <label>, and <number>"
        " or * for the rest, such as <label>.*",
    ),
    (
        "official pictures of one's own",
        "data:\n  official_test: val\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: data.official_test: no setting of digits: got 'val'; it is for sets that torchvision can fetch",
    ),
    (
        "a share of what has its own test pictures",
        "data:\n  source: mnist\n  test: 0.2\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: data.test: no setting of mnist: got 0.2; it is for `source: digits` or `source: folder` or"
        " `source: flat` or `source: csv`",
    ),
    (
        "a task that folders do not have",
        "data:\n  source: folder\n  path: pics\n  task: regression\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:4: data.task: a folder has classes only: got 'regression'; set data.source: csv",
    ),
    (
        "a task that is none",
        "data:\n  task: detection\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: data.task: no such choice: got 'detection', expected one of classification, multilabel,"
        " regression",
    ),
    (
        "no target columns",
        "data:\n  source: csv\n  path: a.csv\n  target_columns: []\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:4: data.target_columns: empty: expected text",
    ),
    (
        "target columns that are no names",
        "data:\n  source: csv\n  path: a.csv\n  target_columns: [1, 2]\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:4: data.target_columns: wrong type: got [1, 2], expected text or list of texts",
    ),
    (
        "no separator",
        "data:\n  source: csv\n  path: a.csv\n  separator: ''\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:4: data.separator: empty: expected text",
    ),
    (
        "a limit of none",
        "data:\n  limit: 0\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: data.limit: out of range: got 0, expected whole number ≥ 1 or nothing",
    ),
    (
        "a normalisation that is none",
        "trial:\n  normalize: mean\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: trial.normalize: no such choice: got 'mean', expected one of auto, imagenet, half, data, none",
    ),
    (
        "too strong an augmentation",
        "trial:\n  randaugment: 31\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: trial.randaugment: out of range: got 31, expected whole number ≥ 0 and ≤ 30",
    ),
    (
        "nothing left to train on",
        "data:\n  val: 0.5\n  test: 0.5\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: data.test: no pictures are left to train on: got 1.0, expected val + test < 1",
    ),
    (
        "an unknown source",
        "data:\n  source: folders\n",
        "sweep.yaml:2: data.source: no such choice: got 'folders', expected one of digits, folder, flat, csv,"
        " mnist, fashion_mnist, kmnist, qmnist, emnist_balanced, emnist_letters, emnist_digits, usps, "
        "cifar10, cifar100,"
        " svhn, stl10; did you mean 'folder'?",
    ),
    (
        "nothing to explore",
        "trial:\n  lr: 0.1\n",
        "sweep.yaml:1: space: nothing to explore: 24 trials would all be the same: expected a setting under "
        "`space:`; or write `trials: 1` under `search:`",
    ),
    (
        "an empty space",
        "space:\nsearch:\n  trials: 5\n",
        "sweep.yaml:1: space: nothing to explore: 5 trials would all be the same: expected a setting under "
        "`space:`; or write `trials: 1` under `search:`",
    ),
    (
        "explored by one value",
        "space:\n  lr: 0.1\n",
        "sweep.yaml:2: space.lr: one value is nothing to explore: got 0.1, expected a range {low: …, high: …} "
        "or a list of choices; to fix it: put it under trial.lr",
    ),
    (
        "explored by nothing",
        "space:\n  lr:\n",
        "sweep.yaml:2: space.lr: one value is nothing to explore: got nothing, expected a range {low: …, high: "
        "…} or a list of choices; to fix it: put it under trial.lr",
    ),
    (
        "an empty list of choices",
        "space:\n  batch_size: []\n",
        "sweep.yaml:2: space.batch_size: an empty list: expected two choices or more",
    ),
    (
        "choices that are no list",
        "space:\n  batch_size: {choices: 16}\n",
        "sweep.yaml:2: space.batch_size.choices: wrong type: got 16, expected a list, such as [16, 32, 64]",
    ),
    (
        "one choice",
        "space:\n  batch_size: [16]\n",
        "sweep.yaml:2: space.batch_size: only one choice: got 16; to fix it: put it under trial.batch_size",
    ),
    (
        "the same choice twice",
        "space:\n  lr: [0.1, 1e-1]\n",
        "sweep.yaml:2: space.lr[1]: the same choice twice: got 0.1",
    ),
    (
        "a choice of the wrong type",
        "space:\n  batch_size: [16, large]\n",
        "sweep.yaml:2: space.batch_size[1]: wrong type: got 'large', expected whole number ≥ 1",
    ),
    (
        "a choice beyond the limit",
        "space:\n  batch_size: [16, 0]\n",
        "sweep.yaml:2: space.batch_size[1]: out of range: got 0, expected whole number ≥ 1",
    ),
    (
        "a choice misspelt in a list",
        "space:\n  optimizer:\n    - sgd\n    - adamm\n",
        "sweep.yaml:4: space.optimizer[1]: no such choice: got 'adamm', expected one of sgd, asgd, "
        "adadelta, adagrad, adam, adamw, adamax, nadam, radam, rmsprop, rprop, lbfgs, "
        "sparse_adam; did you mean 'adam'?",
    ),
    (
        "too many choices",
        "space:\n  seed: [" + ", ".join(map(str, range(1001))) + "]\n",
        "sweep.yaml:2: space.seed: 1,001 choices: expected at most 1,000",
    ),
    (
        "low without high",
        "space:\n  lr: {low: 0.1}\n",
        "sweep.yaml:2: space.lr: high is missing: expected a range {low: …, high: …} or a list of choices",
    ),
    (
        "a misspelt bound",
        "space:\n  lr: {low: 0.1, hi: 0.2}\n",
        "sweep.yaml:2: space.lr.hi: unknown key: expected one of low, high, log, step, when; did you mean 'high'?",
    ),
    (
        "choices with a bound",
        "space:\n  lr: {choices: [0.1, 0.2], low: 0.1}\n",
        "sweep.yaml:2: space.lr.low: unknown key: expected one of choices, when",
    ),
    (
        "low above high",
        "space:\n  lr: {low: 0.2, high: 0.1}\n",
        "sweep.yaml:2: space.lr: low is above high: got [0.2, 0.1]; swap the two",
    ),
    (
        "low equal to high",
        "space:\n  lr: {low: 0.1, high: 0.1}\n",
        "sweep.yaml:2: space.lr: low and high are the same: got 0.1; to fix it: put it under trial.lr",
    ),
    (
        "low beyond the limit",
        "space:\n  lr: {low: 0, high: 0.1, log: true}\n",
        "sweep.yaml:2: space.lr.low: out of range: got 0, expected number > 0 and < 1,000",
    ),
    (
        "high beyond the limit",
        "space:\n  momentum: {low: 0, high: 1}\n",
        "sweep.yaml:2: space.momentum.high: out of range: got 1, expected number ≥ 0 and < 1",
    ),
    (
        "high is infinite",
        "space:\n  weight_decay: {low: 0, high: .inf}\n",
        "sweep.yaml:2: space.weight_decay.high: not a finite number: got inf, expected number ≥ 0",
    ),
    (
        "a log scale from 0",
        "space:\n  weight_decay: {low: 0, high: 0.1, log: true}\n",
        "sweep.yaml:2: space.weight_decay.low: a log scale starts above 0: got 0.0, expected number > 0",
    ),
    (
        "log that is no truth",
        "space:\n  lr: {low: 0.1, high: 0.2, log: 10}\n",
        "sweep.yaml:2: space.lr.log: wrong type: got 10, expected true or false",
    ),
    (
        "log and step",
        "space:\n  lr: {low: 0.1, high: 0.2, log: true, step: 0.1}\n",
        "sweep.yaml:2: space.lr.step: a range has either log or step: got 0.1; remove one of the two",
    ),
    (
        "a step that does not fit",
        "space:\n  lr: {low: 0.1, high: 0.4, step: 0.2}\n",
        "sweep.yaml:2: space.lr.step: the step does not lead from low to high: got 0.2; the last step ends at 0.3",
    ),
    (
        "a step wider than the range",
        "space:\n  batch_size: {low: 8, high: 16, step: 32}\n",
        "sweep.yaml:2: space.batch_size.step: the step does not lead from low to high: got 32; it is wider "
        "than the range",
    ),
    (
        "a step of 0",
        "space:\n  batch_size: {low: 8, high: 16, step: 0}\n",
        "sweep.yaml:2: space.batch_size.step: out of range: got 0, expected whole number ≥ 1",
    ),
    (
        "a step that is a fraction",
        "space:\n  batch_size: {low: 8, high: 16, step: 0.5}\n",
        "sweep.yaml:2: space.batch_size.step: wrong type: got 0.5, expected whole number",
    ),
    (
        "a bound that is a fraction",
        "space:\n  batch_size: {low: 8.5, high: 16}\n",
        "sweep.yaml:2: space.batch_size.low: wrong type: got 8.5, expected whole number ≥ 1",
    ),
    (
        "a range of words",
        "space:\n  optimizer: {low: adam, high: sgd}\n",
        "sweep.yaml:2: space.optimizer: a range does not fit a setting that is one of sgd, asgd, "
        "adadelta, adagrad, adam, adamw, adamax, nadam, radam, rmsprop, rprop, lbfgs, "
        "sparse_adam: expected a list of choices",
    ),
    (
        "a range for true or false",
        "space:\n  nesterov: {low: 0, high: 1}\n",
        "sweep.yaml:2: space.nesterov: a range does not fit a setting that is true or false: expected a list "
        "of choices",
    ),
    (
        "a bound that is text",
        "space:\n  freeze: {low: none, high: 4}\n",
        "sweep.yaml:2: space.freeze.low: wrong type: got 'none', expected whole number",
    ),
    (
        "a condition that is a word",
        "space:\n  momentum: {low: 0.1, high: 0.9, when: sgd}\n",
        "sweep.yaml:2: space.momentum.when: wrong type: got 'sgd', expected {setting: [values]}, such as "
        "{optimizer: [adam, adamw]}",
    ),
    (
        "a condition on an unknown setting",
        "space:\n  momentum: {low: 0.1, high: 0.9, when: {optimiser: sgd}}\n",
        "sweep.yaml:2: space.momentum.when.optimiser: unknown setting; did you mean 'optimizer'?",
    ),
    (
        "a condition on itself",
        "space:\n  batch_size: {choices: [16, 32], when: {batch_size: 16}}\n",
        "sweep.yaml:2: space.batch_size.when.batch_size: a condition on itself",
    ),
    (
        "a condition on a range",
        "space:\n  lr: {low: 0.1, high: 0.2}\n  momentum: {low: 0.1, high: 0.9, when: {lr: 0.1}}\n",
        "sweep.yaml:3: space.momentum.when.lr: a condition on a range: expected a setting with a list of "
        "choices; list the choices of space.lr",
    ),
    (
        "a condition without values",
        "space:\n  optimizer: [sgd, adam]\n  momentum: {low: 0.1, high: 0.9, when: {optimizer: []}}\n",
        "sweep.yaml:3: space.momentum.when.optimizer: an empty list: expected the values under which it is explored",
    ),
    (
        "a condition that can never be",
        "space:\n  optimizer: [sgd, adam]\n  momentum: {low: 0.1, high: 0.9, when: {optimizer: [sgd, rmsprop]}}\n",
        "sweep.yaml:3: space.momentum.when.optimizer: never met: it is not among space.optimizer: got "
        "'rmsprop', expected one of sgd, adam",
    ),
    (
        "a condition on a misspelt value",
        "space:\n  optimizer: [sgd, adam]\n  momentum: {low: 0.1, high: 0.9, when: {optimizer: sdg}}\n",
        "sweep.yaml:3: space.momentum.when.optimizer: no such choice: got 'sdg', expected one of sgd, "
        "asgd, adadelta, adagrad, adam, adamw, adamax, nadam, radam, rmsprop, rprop, lbfgs, "
        "sparse_adam; did you mean 'sgd'?",
    ),
    (
        "a condition that a fixed setting excludes",
        "trial:\n  optimizer: adam\nspace:\n  momentum: {low: 0.1, high: 0.9, when: {optimizer: sgd}}\n",
        "sweep.yaml:4: space.momentum.when.optimizer: never met: trial.optimizer is 'adam': got ['sgd']; "
        "explore optimizer",
    ),
    (
        "conditions in a circle",
        "space:\n  optimizer: {choices: [sgd, adam], when: {loss: cross_entropy}}\n  loss: {choices: "
        "[cross_entropy, multi_margin], when: {optimizer: sgd}}\n",
        "sweep.yaml:2: space.optimizer.when: conditions in a circle: optimizer → loss → optimizer",
    ),
    (
        "conditions that exclude each other",
        "space:\n  optimizer: [sgd, adam]\n  nesterov: {choices: [true, false], when: {optimizer: sgd}}\n  "
        "momentum: {choices: [0.5, 0.9], when: {nesterov: true, optimizer: adam}}\n",
        "sweep.yaml:4: space.momentum.when: never met: the conditions exclude each other",
    ),
    (
        "an unknown model",
        "trial:\n  model: resnet81\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: trial.model: no such model: got 'resnet81', expected a torchvision classifier, "
        "small_cnn, alexnet_2012, residual34; did you "
        "mean resnet18 or resnet152 or resnet101?",
    ),
    (
        "an unknown model among others",
        "space:\n  model: [resnet18, alexnett]\n",
        "sweep.yaml:2: space.model: no such model: got 'alexnett', expected a torchvision classifier, "
        "small_cnn, alexnet_2012, residual34; did you "
        "mean alexnet or alexnet_2012?",
    ),
    (
        "a stage that the model lacks",
        "trial:\n  model: alexnet\n  freeze: layer3\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: trial.freeze: alexnet has no such stage: got 'layer3', expected none, backbone, one of "
        "conv1, conv2, conv3, conv4, conv5, classifier, or a number 0 to 6",
    ),
    (
        "a stage that one explored model lacks",
        "trial:\n  freeze: layer3\nspace:\n  model: [resnet18, alexnet]\n",
        "sweep.yaml:2: trial.freeze: alexnet has no such stage (in trials with model alexnet): got 'layer3', "
        "expected none, backbone, one of conv1, conv2, conv3, conv4, conv5, classifier, or a number 0 to 6",
    ),
    (
        "more stages than the model has",
        "space:\n  freeze: {low: 0, high: 9}\n",
        "sweep.yaml:2: space.freeze: no such number of stages: got 6, expected 0 to 5, the stages of resnet18 "
        "(stem, layer1, layer2, layer3, layer4)",
    ),
    (
        "pictures too small for one model",
        "space:\n  model: [resnet18, alexnet]\n  image_size: [32, 224]\n",
        "sweep.yaml:3: space.image_size: alexnet cannot take pictures of this size (in trials with model "
        "alexnet): got 32, expected at least 63; the nearest is 63; its ImageNet weights were made for 224",
    ),
    (
        "pictures of a size no patch fits",
        "trial:\n  model: vit_b_16\n  image_size: 100\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: trial.image_size: vit_b_16 cannot take pictures of this size: got 100, expected a "
        "multiple of 16; the nearest is 96; its ImageNet weights were made for 224",
    ),
    (
        "too many combinations",
        "space:\n  image_size: ["
        + ", ".join(map(str, range(64, 564)))
        + "]\n  freeze: ["
        + ", ".join(map(str, range(500)))
        + "]\n",
        "sweep.yaml:1: space: 250,000 combinations of freeze, image_size are too many to check: expected at "
        "most 100,000",
    ),
    (
        "Nesterov without momentum",
        "trial:\n  nesterov: true\n  momentum: 0\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: trial.momentum: Nesterov momentum needs momentum above 0: got 0.0; start it above 0, or "
        "leave nesterov out",
    ),
    (
        "Nesterov with momentum from 0",
        "space:\n  nesterov: [true, false]\n  momentum: {low: 0, high: 0.9}\n",
        "sweep.yaml:3: space.momentum: Nesterov momentum needs momentum above 0 (in trials with nesterov "
        "true): got 0.0; start it above 0, or leave nesterov out",
    ),
    (
        "ImageNet weights of a network of our own",
        "trial:\n  model: small_cnn\n  weights: imagenet\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: trial.weights: small_cnn has no ImageNet weights: got 'imagenet', expected auto or none "
        "(random weights), or a path",
    ),
    (
        "ImageNet weights of one of the models",
        "trial:\n  weights: imagenet\nspace:\n  model: [resnet18, residual34]\n",
        "sweep.yaml:2: trial.weights: residual34 has no ImageNet weights (in trials with model residual34): got "
        "'imagenet', expected auto or none (random weights), or a path",
    ),
    (
        "dropout of a model without",
        "trial:\n  dropout: 0.5\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: trial.dropout: resnet18 has no dropout layers: got 0.5, expected auto; leave it out, or add "
        "`when: {model: […]}` where the model is explored",
    ),
    (
        "dropout of some of the models",
        "space:\n  model: [alexnet, resnet18]\n  dropout: {low: 0, high: 0.5}\n",
        "sweep.yaml:3: space.dropout: resnet18 has no dropout layers (in trials with model resnet18): got 0.0, "
        "expected auto; leave it out, or add `when: {model: […]}` where the model is explored",
    ),
    (
        "dropout of everything",
        "trial:\n  model: alexnet\n  dropout: 1\n",
        "sweep.yaml:3: trial.dropout: out of range: got 1, expected auto or number ≥ 0 and < 1",
    ),
    (
        "an activation of torchvision's",
        "trial:\n  activation: tanh\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:2: trial.activation: resnet18 has activations of its own: got 'tanh', expected auto; leave it "
        "out, or add `when: {model: […]}` where the model is explored",
    ),
    (
        "an activation that is none",
        "trial:\n  model: small_cnn\n  activation: gelu\n",
        "sweep.yaml:3: trial.activation: no such choice: got 'gelu', expected one of auto, relu, leaky_relu, sigmoid, "
        "tanh; did you mean 'relu'?",
    ),
    (
        "a picture too small for AlexNet",
        "trial:\n  model: alexnet_2012\n  image_size: 28\nspace:\n  lr: [0.1, 0.2]\n",
        "sweep.yaml:3: trial.image_size: alexnet_2012 cannot take pictures of this size: got 28, expected at least "
        "65; the nearest is 65; it was designed for 224",
    ),
    (
        "an initialisation misspelt",
        "trial:\n  init: xavier_normall\n",
        "sweep.yaml:2: trial.init: no such choice: got 'xavier_normall', expected one of default, xavier_uniform, "
        "xavier_normal, kaiming_uniform, kaiming_normal, normal, uniform, constant, orthogonal, sparse; did you mean "
        "'xavier_normal'?",
    ),
    (
        "initial weights between bounds that cross",
        "trial:\n  init: uniform\n  init_low: 0.1\nspace:\n  init_high: [0.05, 0.2]\n",
        "sweep.yaml:3: trial.init_low: not below init_high (in trials with init_high 0.05): got 0.1, expected < 0.05",
    ),
    (
        "layers that learn faster and faster",
        "trial:\n  layer_decay: 1.5\n",
        "sweep.yaml:2: trial.layer_decay: out of range: got 1.5, expected number > 0 and ≤ 1",
    ),
    (
        "an optimiser of sparse gradients",
        "trial:\n  optimizer: sparse_adam\nsearch:\n  trials: 1\n",
        "sweep.yaml:2: trial.optimizer: it wants sparse gradients, and those of all models here are dense: got "
        "'sparse_adam'; take adam",
    ),
    (
        "an optimiser of sparse gradients among others",
        "space:\n  optimizer: [adam, sparse_adam]\n",
        "sweep.yaml:2: space.optimizer: it wants sparse gradients, and those of all models here are dense: got "
        "'sparse_adam'; take adam",
    ),
    (
        "lbfgs in fp16",
        "trial:\n  precision: fp16\nspace:\n  optimizer: [sgd, lbfgs]\n",
        "sweep.yaml:2: trial.precision: lbfgs cannot scale its losses, as fp16 needs it (in trials with optimizer "
        "lbfgs): got 'fp16', expected auto, bf16 or fp32",
    ),
    (
        "Nesterov with dampening",
        "trial:\n  nesterov: true\nspace:\n  dampening: [0, 0.1]\n",
        "sweep.yaml:4: space.dampening: Nesterov momentum takes no dampening: got 0.1, expected 0",
    ),
    *(
        (
            f"milestones that are {name}",
            f"trial:\n  schedule: multistep\n  milestones: {value}\nsearch:\n  trials: 1\n",
            f"sweep.yaml:3: trial.milestones: not a list of epochs: got {value!r}, expected rising whole numbers above "
            "0, such as `4, 6`",
        )
        for name, value in (("words", "soon"), ("falling", "6, 4"), ("zero", 0), ("half", "2.5, 4"), ("twice", "4, 4"))
    ),
    (
        "milestones as a list",
        "trial:\n  schedule: multistep\n  milestones: [4, 6]\n",
        "sweep.yaml:3: trial.milestones: wrong type: got [4, 6], expected text or whole number; what a sweep explores "
        "stands under `space:`",
    ),
    (
        "a loss of another task",
        "trial:\n  loss: huber\nsearch:\n  trials: 1\n",
        "sweep.yaml:2: trial.loss: no loss for data.task classification: got 'huber', expected one of auto, "
        "cross_entropy, nll, bce, multi_margin, focal, kl_div, mse, l1",
    ),
    (
        "a loss of another task among others",
        "data:\n  source: csv\n  path: table.csv\n  task: regression\nspace:\n  loss: [mse, cross_entropy]\n",
        "sweep.yaml:6: space.loss: no loss for data.task regression: got 'cross_entropy', expected one of auto, mse, "
        "l1, smooth_l1, huber, poisson_nll, margin_ranking",
    ),
    (
        "a loss that multilabel has not",
        "data:\n  source: csv\n  path: table.csv\n  task: multilabel\ntrial:\n  loss: focal\nsearch:\n  trials: 1\n",
        "sweep.yaml:6: trial.loss: no loss for data.task multilabel: got 'focal', expected one of auto, bce, "
        "multilabel_margin, multilabel_soft_margin",
    ),
    (
        "a metric of another task",
        "search:\n  metric: val_r2\n  trials: 1\n",
        "sweep.yaml:2: search.metric: no metric of data.task classification: got 'val_r2', expected one of auto, "
        "val_accuracy, val_top5, val_balanced_accuracy, val_f1, val_auroc, val_loss",
    ),
    (
        "a metric that regression has not",
        "data:\n  source: csv\n  path: table.csv\n  task: regression\nsearch:\n  metric: val_accuracy\n  trials: 1\n",
        "sweep.yaml:6: search.metric: no metric of data.task regression: got 'val_accuracy', expected one of auto, "
        "val_mae, val_rmse, val_r2, val_loss",
    ),
    *(
        (
            f"{name} out of its limits",
            f"trial:\n  {name}: {value}\n",
            f"sweep.yaml:2: trial.{name}: out of range: got {value}, expected {expected}",
        )
        for name, value, expected in (
            ("beta1", 1.0, "number ≥ 0 and < 1"),
            ("eta_minus", 1.5, "number > 0 and < 1"),
            ("eta_plus", 0.5, "number > 1"),
            ("eps", 0, "auto or number > 0"),
            ("history_size", 0, "whole number ≥ 1"),
            ("clip_grad_norm", -1, "number ≥ 0"),
            ("warmup_epochs", -1, "whole number ≥ 0"),
            ("pct_start", 1, "number > 0 and < 1"),
            ("div_factor", 0.5, "number ≥ 1"),
            ("min_lr_factor", 2, "number ≥ 0 and ≤ 1"),
            ("mixup", -0.1, "number ≥ 0"),
            ("cutmix", -0.1, "number ≥ 0"),
            ("focal_gamma", -1, "number ≥ 0"),
            ("huber_delta", 0, "number > 0"),
        )
    ),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_file_is_told_in_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        load_spec("sweep.yaml")
    assert str(caught.value) == message
    assert "\n" not in message


def test_there_are_many_kinds_and_each_is_named_once():
    names = [name for name, _, _ in BROKEN]
    assert len(names) == len(set(names)) >= 100


def test_several_mistakes_are_told_one_a_line_in_the_files_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "space:\n  lr: {low: 2, high: 1}\ntrial:\n  epochs: 0\nserach:\n  trials: 3\n"
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_spec("sweep.yaml", sets=["momentum=2"])
    assert str(caught.value).splitlines() == [
        "sweep.yaml:2: space.lr: low is above high: got [2.0, 1.0]; swap the two",
        "sweep.yaml:4: trial.epochs: out of range: got 0, expected whole number ≥ 1 and ≤ 99,999",
        "sweep.yaml:5: serach: unknown section: expected one of data, trial, space, search, resources;"
        " did you mean 'search'?",
        "--set momentum=2: trial.momentum: out of range: got 2, expected number ≥ 0 and < 1",
    ]


def test_a_flood_of_mistakes_is_cut_short_and_counted(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("trial:\n" + "".join(f"  wrong{number}: 1\n" for number in range(25)))
    with pytest.raises(UserError) as caught:
        load_spec(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "… and 5 more mistakes"


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_what_is_no_file_is_said(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no such file|a folder, not a file"):
        load_spec(name)


def test_a_file_too_large_is_not_parsed(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(UserError, match="too large for a sweep file: expected at most 1,000,000 bytes"):
        load_spec(path)


def test_a_file_of_too_many_values_is_given_up(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("trial: [" + "1," * 30_000 + "]")
    with pytest.raises(UserError, match="too many values: expected at most 20,000"):
        load_spec(path)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("lr", "--set lr: not a setting: expected SECTION.SETTING=VALUE, such as trial.lr=0.01"),
        ("lr=", "--set lr=: trial.lr: wrong type: got nothing, expected number > 0 and < 1,000"),
        ("lr=[", "--set lr=[:1: not YAML: expected the node content, but found '<stream end>'"),
        ("search.trials=0", "--set search.trials=0: search.trials: out of range: got 0, expected whole number ≥ 1"),
        (
            "learning_rate=1",
            "--set learning_rate=1: no such section or trial setting: got 'learning_rate', expected one of data.…,"
            " trial.…, space.…, search.…, resources.…, or a trial setting; did you mean 'lr'?",
        ),
        (
            "trial.lrr=1",
            "--set trial.lrr=1: trial.lrr: unknown setting; did you mean 'lr'?",
        ),
        (
            "trial=1",
            "--set trial=1: which setting of that section?: expected trial.SETTING=VALUE",
        ),
        ("space.lr.low.x=1", "--set space.lr.low.x=1: space.lr.low has no settings of its own in sweep.yaml"),
        ("space.lr.low=2", "sweep.yaml:2: space.lr: low is above high: got [2.0, 1.0]; swap the two"),
    ],
)
def test_a_broken_option_is_told_in_one_line(option, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("space:\n  lr: {low: 0.1, high: 1}\n")
    with pytest.raises(UserError) as caught:
        load_spec("sweep.yaml", sets=[option])
    assert str(caught.value) == message
