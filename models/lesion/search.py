"""Search for settings by Optuna (Akiba et al., KDD 2019), where no tested patient is.

The classifier's settings are searched for in inner folds of one outer fold's training patients. The
autoencoder's are searched for on patients that are in no fold at all, by how well it draws patches
of those among them that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.evaluation.intervals import area
from models.lesion import losses, training
from models.lesion.config import Config
from models.lesion.lesions import Lesion, labels, owners, tensor
from models.training.loop import Run

_INNER_FOLDS = 4


def classifier(
    codes: Tensor, lesions: Sequence[Lesion], config: Config, trials: int, seed: int
) -> Config:
    """Return `config` with the classifier's settings that rank patients best in inner folds."""
    import optuna
    from sklearn.model_selection import StratifiedGroupKFold

    truth, whose = labels(lesions), owners(lesions)
    target, weights = torch.from_numpy(truth), training.balanced(lesions)
    inner = list(
        StratifiedGroupKFold(_INNER_FOLDS, shuffle=True, random_state=seed).split(
            truth, truth, whose
        )
    )
    names = np.unique(whose)
    malignant = np.array([truth[whose == name][0] > 0 for name in names])

    def objective(trial: optuna.Trial) -> float:
        tried = replace(
            config,
            hidden=trial.suggest_categorical("hidden", [4, 16, 32]),
            classifier_decay=trial.suggest_float("classifier_decay", 0.01, 10.0, log=True),
            classifier_steps=trial.suggest_categorical("classifier_steps", [30, 80, 200]),
        )
        logits = np.zeros(len(lesions))
        for train, test in inner:
            fitted = training.fit_classifier(
                codes[train], target[train], weights[train], tried, seed
            )
            with torch.inference_mode():
                logits[test] = fitted(codes[test]).double().numpy()
        means = np.array([logits[whose == name].mean() for name in names])
        return area(means[~malignant], means[malignant])

    study = _study(seed)
    study.enqueue_trial(
        {"hidden": 16, "classifier_decay": 0.1, "classifier_steps": 80}, skip_if_exists=True
    )
    study.optimize(objective, n_trials=trials)
    return replace(config, **study.best_params)


def network(
    lesions: Sequence[Lesion], config: Config, trials: int, run: Run
) -> tuple[Config, list[dict[str, float]]]:
    """Return `config` with the autoencoder's settings of largest SSIM on patients held out.

    Every fourth patient of `lesions`, which need no label, is held out. SSIM is that of codes drawn
    from the posterior, not of its mean: a code that carries everything and is uncertain of nothing
    gains nothing by it.

    Returns:
        The settings, and each trial's settings with its SSIM.
    """
    import optuna

    whose = owners(lesions)
    out = np.isin(whose, np.unique(whose)[::4])
    held = torch.from_numpy(out)
    patches = tensor([one.stack for one in lesions], config)
    seen = [one for one, hidden in zip(lesions, out, strict=True) if not hidden]
    told: list[dict[str, float]] = []

    def objective(trial: optuna.Trial) -> float:
        stated: dict[str, float] = {
            "alpha": trial.suggest_float("alpha", 0.1, 0.9),
            "beta": trial.suggest_float("beta", 0.05, 5.0, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 4e-3, log=True),
        }
        if config.kind == "dirichlet":
            stated["concentration"] = trial.suggest_float("concentration", 0.5, 0.99)
        tried = replace(config, **stated)
        fitted = training.fit_network(
            patches[~held], training.by_patient(seen), tried, replace(run, seed=run.seed)
        )
        with torch.inference_mode(), training.seeded(run.seed):
            code = fitted.sample(fitted.encode(patches[held]))
            drawn = fitted.decode(code)
        similarity = float(losses.structural_similarity(drawn, patches[held]).mean())
        told.append(stated | {"ssim": similarity})
        return similarity

    study = _study(run.seed)
    study.optimize(objective, n_trials=trials)
    return replace(config, **study.best_params), told


def _study(seed: int):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
