"""What columns are called in a graph, and in a SavedModel's signature."""

import collections
import re


def argument_names(columns):
    """{column: its name in a graph and in a SavedModel's signature}: letters, digits and "_", beginning with a letter.

    Everything else becomes "_". Columns that this would make one have the numbers of such characters in their names instead.

    Args:
        columns: names of columns, all different.

    Example:
        >>> argument_names(["price ($)", "a b", "a_b"])
        {'price ($)': 'price____', 'a b': 'a_x20_b', 'a_b': 'a_b'}
    """
    plain = {column: argument_name(column) for column in columns}
    counts = collections.Counter(plain.values())
    names = {
        column: name if counts[name] == 1 or name == column else _spelt_out(column) for column, name in plain.items()
    }
    return names if len(set(names.values())) == len(names) else {column: _spelt_out(column) for column in names}


def argument_name(column):
    """A column's name where no other one is alike: everything but letters and digits as "_"."""
    name = re.sub("[^A-Za-z0-9]", "_", column)
    return name if name[:1].isalpha() else f"column_{name}"


def _spelt_out(column):
    """A name that no other column has, with runs of other characters as their numbers."""
    name = re.sub("_(?=(x[0-9a-f]+)+(_|[^A-Za-z0-9_]))", "_x5f_", column)  # what is no number must not look like one
    name = re.sub("[^A-Za-z0-9_]+", lambda run: f"_{''.join(f'x{ord(sign):x}' for sign in run[0])}_", name)
    return name if re.match("(?!column_)[A-Za-z]", name) else f"column_{name}"
