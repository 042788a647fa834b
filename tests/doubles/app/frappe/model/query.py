"""App double: lists of documents by filters, with every value as a parameter and every name checked."""
import re

from .. import ValidationError, local
from ..database import quoted

OPERATORS = {"=", "!=", "<", "<=", ">", ">=", "like", "not like", "in", "not in", "is"}


def where(filters):
    """(` where …`, values) for a dict, or a list of [field, operator, value] (a leading DocType is allowed)."""
    parts, values = [], []
    for field, operator, value in conditions(filters):
        if operator not in OPERATORS:
            raise ValidationError(f"invalid operator {operator}")
        if operator in ("in", "not in"):
            value = value.split(",") if isinstance(value, str) else list(value)
            parts.append(f"{quoted(field)} {operator} ({', '.join(['%s'] * len(value)) or 'null'})")
            values += value
        elif operator == "is":
            empty = f"coalesce({quoted(field)}, '') = ''"
            parts.append(empty if value == "not set" else f"not ({empty})")
        elif value is None:
            parts.append(f"{quoted(field)} is {'not ' if operator == '!=' else ''}null")
        else:
            parts.append(f"{quoted(field)} {operator} %s")
            values.append(value)
    return (" where " + " and ".join(parts) if parts else "", values)


def conditions(filters):
    if not filters:
        return
    if isinstance(filters, dict):
        filters = [[k, *(v if isinstance(v, (list, tuple)) else ("=", v))] for k, v in filters.items()]
    for row in filters:
        field, operator, value = row[-3:]
        yield field, str(operator).lower(), value


def get_all(doctype, filters=None, fields=None, order_by=None, limit=None, limit_start=0, limit_page_length=None,
            pluck=None, as_list=False, **_options):
    """Rows as dicts; with `pluck` one field's values."""
    fields = [pluck] if pluck else fields or ["name"]
    fields = [fields] if isinstance(fields, str) else fields
    names = "*" if fields == ["*"] else ", ".join(column(f) for f in fields)
    clause, values = where(filters)
    order = "modified desc" if order_by is None else order_by
    if not re.fullmatch(r"[\w`., ]*", order):
        raise ValidationError("invalid order_by")
    query = f"select {names} from {quoted('tab' + doctype)}{clause} order by {order}"
    limit = limit or limit_page_length
    if limit:
        query += f" limit {int(limit_start)}, {int(limit)}"
    rows = local.db.sql(query, values, as_dict=True)
    if pluck:
        return [row[pluck] for row in rows]
    return [tuple(row.values()) for row in rows] if as_list else rows


def column(field):
    if re.fullmatch(r"\w+", field):
        return quoted(field)
    if re.fullmatch(r"(count|sum|max|min)\((\*|\w+)\)( as \w+)?", field):
        return field
    raise ValidationError(f"invalid field {field}")
