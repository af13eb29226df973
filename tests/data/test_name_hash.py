import numpy as np

from hrca.data._name_hash import uniform_from_names


def test_a_name_always_has_the_same_number():
    names = [f"cell{i}" for i in range(100)]
    uniform = uniform_from_names(names)
    assert uniform_from_names(names[7:8])[0] == uniform[7]
    np.testing.assert_array_equal(uniform_from_names(names[::-1]), uniform[::-1])


def test_numbers_of_different_names_are_uniform():
    uniform = uniform_from_names(f"cell{i}" for i in range(5000))
    assert 0 <= uniform.min() < uniform.max() < 1
    np.testing.assert_allclose(np.quantile(uniform, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


def test_no_name_has_no_number():
    assert uniform_from_names([]).shape == (0,)
