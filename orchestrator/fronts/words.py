"""Short names and numbers for sentences and tables."""

_NAMES = {
    "l0": "L0",
    "ce_loss_increase": "CE increase",
    "n_alive_elements": "alive elements",
    "kl_div_with_sae": "KL",
    "mse": "MSE",
    "explained_variance": "explained variance",
}


def name_of(metric: str) -> str:
    """Of a metric, for people."""
    return _NAMES.get(metric, metric)


def number(value: float | None, digits: int = 3) -> str:
    """So many significant digits, whole numbers whole; a dash for none."""
    if value is None or value != value:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def signed(value: float) -> str:
    """Three significant digits and the sign; 0 has none."""
    return f"{value:+.3g}" if abs(value) > 1e-12 else "0"


def where(layer: object, loss: object = None, d_sae: object = None) -> str:
    """`layer 6, e2e (46080)`."""
    name = f"layer {layer}" + (f", {loss}" if loss is not None else "")
    return f"{name} ({d_sae})" if d_sae is not None else name
