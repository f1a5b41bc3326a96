"""Settings of posteriors as they stand in names."""

import inspect

import pytest

import zoo
from zoo.posterior import POSTERIORS, Laplace, Mixture


@pytest.fixture(scope="module")
def model():
    return zoo.build("resnet20", (16, 16, 1), 2)


@pytest.mark.parametrize(
    "kind, text, value",
    [
        ("laplace", "subset=all", "all"),
        ("mixture", "structure=diagonal", "diagonal"),
        ("laplace", "prior_precision=validation", "validation"),
        ("laplace", "prior_precision=1e-2", 0.01),
        ("laplace", "subnetwork=100", 100),
        ("laplace", "subnetwork=head", ["head"]),
        ("laplace", 'subnetwork=["stem_conv","head"]', ["stem_conv", "head"]),
        ("density", "scores=density+mahalanobis", ["density", "mahalanobis"]),
        ("swag", "rank=3", 3),
        ("dirichlet", "penalty=0", 0),
        ("mc", "estimator=null", None),
    ],
)
def test_text_has_the_value_that_the_argument_takes(kind, text, value):
    name, _, written = text.partition("=")
    found = POSTERIORS[kind].parse_settings([(name, written)])
    assert found == {name: value}
    assert type(found[name]) is type(value)


def test_names_set_what_constructors_take():
    for kind in POSTERIORS.values():
        known, of = kind.known_settings(), Laplace if kind is Mixture else kind
        taken = inspect.signature(of).parameters
        assert {*known} <= {*taken} - {"seed", "kwargs"}
        assert not {"model", "posterior", "members"} & {*known}
    wanted = {"subset", "subnetwork", "structure", "predictive", "prior_precision"}
    assert wanted < {*Laplace.known_settings()}
    assert Laplace.known_settings() == Mixture.known_settings()


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "subst=all",
            "`Laplace` has no setting 'subst'.*Did you mean 'subset'.*Known: ",
        ),
        ("seed=3", "no setting 'seed'.*Known: .*structure, predictive"),
        ("subset=most", "one of last_layer, all, subnetwork. Received: subset=most"),
        ("structure=block", "one of .*kronecker, .*Received: structure=block"),
        ("predictive=3", "one of probit, bridge, monte_carlo. Received: predictive=3"),
        ("prior_precision=x", "one of marginal_likelihood, validation. .*=x"),
        ("num_samples=x", "positive integer. Received: num_samples=x"),
    ],
)
def test_errors_list_what_is_possible(model, text, message):
    name, _, written = text.partition("=")
    with pytest.raises(ValueError, match=message):
        Laplace(model, **Laplace.parse_settings([(name, written)]))
