from __future__ import annotations

import pytest

from aiex.assistant.create.placement import Placement, language_of_project, place_module
from aiex.core import UsageError

SRC = {"pyproject.toml", "src/shop/__init__.py", "src/shop/prices.py", "tests/test_prices.py"}
FLAT = {"shop/__init__.py", "tests/__init__.py", "setup.py"}
MIX = {"mix.exs", "lib/shop.ex", "test/shop_test.exs"}


def python(name: str, paths: set[str], path: str | None = None) -> Placement:
    return place_module(name, language="python", path=path, paths=paths)


def elixir(name: str, paths: set[str], path: str | None = None) -> Placement:
    return place_module(name, language="elixir", path=path, paths=paths)


@pytest.mark.parametrize(
    ("name", "paths", "module", "path"),
    [
        ("cart", SRC, "shop.cart", "src/shop/cart.py"),
        ("shop.cart", SRC, "shop.cart", "src/shop/cart.py"),
        ("shop.ShoppingCart", SRC, "shop.shopping_cart", "src/shop/shopping_cart.py"),
        ("shopping-cart", SRC, "shop.shopping_cart", "src/shop/shopping_cart.py"),
        ("cart", FLAT, "shop.cart", "shop/cart.py"),
        ("other.cart", FLAT, "other.cart", "other/cart.py"),
        ("cart", set(), "cart", "cart.py"),
        ("HTTPServer", set(), "http_server", "http_server.py"),
    ],
)
def test_a_python_module_stands_where_the_layout_says(
    name: str, paths: set[str], module: str, path: str
) -> None:
    placed = python(name, paths)
    assert (placed.name, placed.path) == (module, path)


def test_folders_on_the_way_become_packages_unless_they_are() -> None:
    placed = python("shop.billing.cart", SRC)
    assert placed.new_packages == ("src/shop/billing/__init__.py",)
    assert python("other.cart", FLAT).new_packages == ("other/__init__.py",)


def test_a_test_file_that_is_taken_gets_a_longer_name() -> None:
    assert python("shop.cart", SRC).test_path == "tests/test_cart.py"
    assert python("shop.old.prices", SRC).test_path == "tests/test_shop_old_prices.py"


def test_the_users_own_path_wins() -> None:
    assert python("cart", SRC, "tools/basket.py").path == "tools/basket.py"
    assert python("cart", SRC, "tools/").path == "tools/cart.py"
    with pytest.raises(UsageError, match=r"does not end in \.py"):
        python("cart", SRC, "tools/basket.txt")


@pytest.mark.parametrize(
    ("name", "module", "path", "test"),
    [
        ("Shop.Cart", "Shop.Cart", "lib/shop/cart.ex", "test/shop/cart_test.exs"),
        ("shop.cart", "Shop.Cart", "lib/shop/cart.ex", "test/shop/cart_test.exs"),
        ("Shop.HTTPClient", "Shop.HTTPClient", "lib/shop/http_client.ex", None),
        ("shop.price_list", "Shop.PriceList", "lib/shop/price_list.ex", None),
    ],
)
def test_an_elixir_module_stands_under_lib(
    name: str, module: str, path: str, test: str | None
) -> None:
    placed = elixir(name, MIX)
    assert (placed.name, placed.path) == (module, path)
    assert test is None or placed.test_path == test


def test_an_umbrella_app_keeps_its_modules() -> None:
    placed = elixir("Shop.Cart", {"mix.exs", "apps/shop/mix.exs", "apps/shop/lib/shop.ex"})
    assert placed.path == "apps/shop/lib/shop/cart.ex"
    assert placed.test_path == "apps/shop/test/shop/cart_test.exs"


@pytest.mark.parametrize("name", ["", "..", "a b", "1a", "shop.class", "../x", "a$b"])
def test_what_is_no_module_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        python(name, SRC)


def test_the_projects_language_is_its_manifests_or_that_of_most_files() -> None:
    assert language_of_project(SRC) == "python"
    assert language_of_project(MIX) == "elixir"
    assert language_of_project({"a.ex", "b.exs", "c.py"}) == "elixir"
    assert language_of_project({"a.ex", "c.py"}) is None
    assert language_of_project(set()) is None
