"""The two kinds of trouble that are not bugs. Whoever starts a program turns them into a message and an exit code."""


class BadInput(ValueError):
    """Something the user wrote cannot be done. Exit code 2.

    The message says what came, where, what was expected and what to do; it is shown as it is, without a traceback.
    """


class EnvironmentProblem(RuntimeError):
    """The machine lacks something: a hub, a server, a permission, space. Exit code 4. Shown like `BadInput`."""
