"""App double: the exceptions that answers are made of, each with its HTTP status."""


class ValidationError(Exception):
    http_status_code = 417


class FrappeTypeError(TypeError):
    http_status_code = 417


class AuthenticationError(Exception):
    http_status_code = 401


class PermissionError(Exception):  # noqa: A001  the name that Frappe has
    http_status_code = 403


class DoesNotExistError(ValidationError):
    http_status_code = 404


class PageDoesNotExistError(ValidationError):
    http_status_code = 404


class IncorrectSitePath(ValidationError):
    http_status_code = 404


class DuplicateEntryError(ValidationError):
    http_status_code = 409


class SessionStopped(Exception):
    http_status_code = 503


class MandatoryError(ValidationError):
    pass


class LinkValidationError(ValidationError):
    pass


class TimestampMismatchError(ValidationError):
    pass


class InvalidColumnName(ValidationError):
    pass
