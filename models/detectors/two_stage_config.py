"""Settings of the two-stage detector: small by default, and as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from models.errors import ModelError
from models.prepare import GridConfig


@dataclass(frozen=True, slots=True)
class Config(GridConfig):
    """Settings; the published value is given where ours differs.

    Attributes:
        patch: pixels along a token's side.
        width: of the encoder and the codes (256).
        depth: of the encoder (8).
        heads: of the encoder (8).
        dropout: in both stages.
        decoder: widths from the token grid to the pixel ((512, 256, 128, 64)).
        decoder_blocks: residual blocks at the token grid (3).
        codes: in each of the two codebooks (256 for brain, 192 for pelvis).
        code_decay: of the codebooks' moving averages.
        orthogonal: weight of the codebooks' orthogonality.
        commitment: weight of the commitment loss.
        dead_code: a code is moved if it names fewer tokens a batch.
        perceptual: weight of the structural distance (0.5 brain, 0.9 pelvis, of another distance).
        tokenizer_steps: of stage 1 (100 epochs).
        tokenizer_batch: images a step.
        tokenizer_rate: learning rate of stage 1 (2e-4).
        transformer_width: of stage 2 (256).
        transformer_depth: of stage 2 (8).
        transformer_heads: of stage 2 (8).
        rotary_base: of the rotary positions.
        smoothing: of the labels.
        fine_weight: of the second code's cross-entropy.
        transformer_steps: of stage 2 (100 epochs).
        transformer_batch: images a step.
        transformer_rate: learning rate of stage 2 (2e-4).
        warm_up: steps of warm-up of stage 2 (2,000).
        degrees, shift, zoom, gamma, noise: see `Augmentation`; a flip is always as likely as none.
        mask_rate: part of the tokens hidden when surprisal is asked (0.82 brain, 0.90 pelvis).
        mask_rounds: partitions a scan (100 independent masks).
        heal_block: side of a healed block in tokens.
        heal_steps: steps in which the first codes are healed.
        heal_fine_steps: steps in which the second codes are healed (6).
        heal_temperature: 0 takes the likeliest code (0.9 brain, 0.3 pelvis in the paper, 0 in its
            code).
        heal_flip: whether the mirrored image is healed too, and the distances averaged.
        heal_window: pixels over which the distance is averaged (7 brain, 15 pelvis).
        top_fraction: part of the brain's tokens that `surprisal` averages.
        cut_quantile: of reference tokens and pixels, under both cuts of `union` (fixed cuts).
        bf16: whether scoring runs in bfloat16; part of what the calibration holds for.
    """

    patch: int = 8
    width: int = 96
    depth: int = 4
    heads: int = 4
    dropout: float = 0.1
    decoder: tuple[int, ...] = (96, 48, 24, 8)
    decoder_blocks: int = 2
    codes: int = 256
    code_decay: float = 0.85
    orthogonal: float = 0.10
    commitment: float = 0.25
    dead_code: float = 1.0
    perceptual: float = 0.5
    tokenizer_steps: int = 1500
    tokenizer_batch: int = 8
    tokenizer_rate: float = 1e-3
    transformer_width: int = 128
    transformer_depth: int = 4
    transformer_heads: int = 4
    rotary_base: float = 25_000.0
    smoothing: float = 0.05
    fine_weight: float = 0.25
    transformer_steps: int = 2000
    transformer_batch: int = 8
    transformer_rate: float = 1e-3
    warm_up: int = 100
    degrees: float = 8.0
    shift: float = 0.02
    zoom: float = 0.08
    gamma: float = 1.15
    noise: float = 0.01
    mask_rate: float = 0.82
    mask_rounds: int = 1
    heal_block: int = 4
    heal_steps: int = 6
    heal_fine_steps: int = 1
    heal_temperature: float = 0.0
    heal_flip: bool = True
    heal_window: int = 7
    top_fraction: float = 0.05
    cut_quantile: float = 0.98
    bf16: bool = False

    @classmethod
    def published(cls) -> Self:
        """Return the published sizes for brain, at about 100 epochs of 10,000 slices."""
        return cls(
            rows=256,
            columns=256,
            pixel_mm=1.0,
            resolution_mm=1.0,
            width=256,
            depth=8,
            heads=8,
            decoder=(512, 256, 128, 64),
            decoder_blocks=3,
            tokenizer_steps=60_000,
            tokenizer_batch=16,
            tokenizer_rate=2e-4,
            transformer_width=256,
            transformer_depth=8,
            transformer_heads=8,
            transformer_steps=60_000,
            transformer_batch=16,
            transformer_rate=2e-4,
            warm_up=2000,
            degrees=15.0,
            shift=0.06,
            zoom=0.2,
            gamma=1.5,
            noise=0.02,
            heal_fine_steps=6,
            heal_temperature=0.9,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Token rows and columns.

        Raises:
            ModelError: if the image does not divide into patches.
        """
        if self.rows % self.patch or self.columns % self.patch:
            raise ModelError(f"images do not divide into patches of {self.patch} pixels")
        return self.rows // self.patch, self.columns // self.patch
