"""App double: a site's database. One connection a thread, no pool, nothing remembered between requests."""
import pymysql
from pymysql.constants import CLIENT

from . import _dict

STANDARD = ("name", "creation", "modified", "modified_by", "owner", "docstatus", "idx", "parent", "parentfield",
            "parenttype")


def quoted(name):
    return "`" + str(name).replace("`", "``") + "`"


def address(conf):
    """Host and port of the server as the configuration names them."""
    return {"host": conf.get("db_host") or "127.0.0.1", "port": int(conf.get("db_port") or 3306)}


class Database:
    """The calls of `frappe.db` that scripts of a host make."""

    def __init__(self, conf):
        self.conn = pymysql.connect(**address(conf), user=conf.get("db_user") or conf["db_name"],
                                    password=conf.get("db_password") or "", database=conf["db_name"],
                                    charset="utf8mb4", connect_timeout=10, client_flag=CLIENT.FOUND_ROWS)
        self.db_name = conf["db_name"]

    def sql(self, query, values=None, as_dict=False, pluck=False, **_options):
        with self.conn.cursor() as cursor:
            cursor.execute(query, values if values is None or isinstance(values, (tuple, list, dict)) else (values,))
            rows = cursor.fetchall()
            if as_dict:
                names = [c[0] for c in cursor.description or ()]
                return [_dict(zip(names, row)) for row in rows]
            return [row[0] for row in rows] if pluck else list(rows)

    def commit(self):
        self.conn.commit()

    def rollback(self):
        self.conn.rollback()

    def close(self):
        try:
            self.conn.close()
        except pymysql.Error:
            pass

    def table_exists(self, doctype, cached=False):
        return bool(self.sql("select 1 from information_schema.tables where table_schema = database() "
                             "and table_name = %s", f"tab{doctype}"))

    def get_table_columns(self, doctype):
        return self.sql("select column_name from information_schema.columns where table_schema = database() "
                        "and table_name = %s order by ordinal_position", f"tab{doctype}", pluck=True)

    def has_column(self, doctype, column):
        return column in self.get_table_columns(doctype)

    def get_tables(self, cached=False):
        return self.sql("select table_name from information_schema.tables where table_schema = database()", pluck=True)

    def get_single_value(self, doctype, field, cache=True):
        rows = self.sql("select value from `tabSingles` where doctype=%s and field=%s", (doctype, field))
        value = rows[0][0] if rows else None
        from .model.meta import get_meta
        return get_meta(doctype).cast(field, value)

    def get_singles_dict(self, doctype):
        rows = self.sql("select field, value from `tabSingles` where doctype=%s", doctype)
        return _dict(rows)

    def set_single_value(self, doctype, field, value=None, **_options):
        values = field if isinstance(field, dict) else {field: value}
        for key, v in values.items():
            self.sql("delete from `tabSingles` where doctype=%s and field=%s", (doctype, key))
            self.sql("insert into `tabSingles` (doctype, field, value) values (%s, %s, %s)", (doctype, key, v))

    def get_value(self, doctype, filters=None, fieldname="name", as_dict=False, order_by=None, **_options):
        """One row's field, or several as a tuple or dict; none when no row fits."""
        from .model.meta import get_meta
        fields = [fieldname] if isinstance(fieldname, str) else list(fieldname)
        if get_meta(doctype).issingle:
            values = self.get_singles_dict(doctype)
            rows = [_dict((f, values.get(f)) for f in fields)]
        else:
            rows = self.get_values(doctype, filters, fields, order_by=order_by, limit=1)
        if not rows:
            return None
        if as_dict:
            return rows[0]
        return rows[0][fields[0]] if isinstance(fieldname, str) else tuple(rows[0][f] for f in fields)

    def get_values(self, doctype, filters=None, fields=("name",), order_by=None, limit=None):
        from .model.query import get_all
        filters = {"name": filters} if isinstance(filters, str) else filters
        return get_all(doctype, filters=filters, fields=list(fields), order_by=order_by, limit=limit)

    def exists(self, doctype, name=None, cache=False):
        from .model.meta import get_meta
        if isinstance(doctype, dict):
            name, doctype = {k: v for k, v in doctype.items() if k != "doctype"}, doctype["doctype"]
        if get_meta(doctype).issingle:
            return doctype if self.get_singles_dict(doctype) else None
        return self.get_value(doctype, name) if name else None

    def count(self, doctype, filters=None, **_options):
        from .model.query import where
        clause, values = where(filters)
        return self.sql(f"select count(*) from {quoted('tab' + doctype)}{clause}", values)[0][0]

    def set_value(self, doctype, name, field, value=None, update_modified=True, **_options):
        from .model.meta import get_meta
        from .utils import now
        if get_meta(doctype).issingle:
            return self.set_single_value(doctype, field, value)
        values = dict(field) if isinstance(field, dict) else {field: value}
        if update_modified:
            values.setdefault("modified", now())
        sets = ", ".join(f"{quoted(k)}=%s" for k in values)
        self.sql(f"update {quoted('tab' + doctype)} set {sets} where name=%s", [*values.values(), name])

    def insert(self, doctype, values):
        """Inserts a row with the columns that the table has."""
        columns = self.get_table_columns(doctype)
        values = {k: v for k, v in values.items() if k in columns}
        names = ", ".join(map(quoted, values))
        marks = ", ".join(["%s"] * len(values))
        self.sql(f"insert into {quoted('tab' + doctype)} ({names}) values ({marks})", list(values.values()))

    def delete(self, doctype, filters=None, **_options):
        from .model.query import where
        table = doctype if doctype.startswith("__") else f"tab{doctype}"
        clause, values = where(filters)
        self.sql(f"delete from {quoted(table)}{clause}", values)

    def get_default(self, key, parent="__default"):
        rows = self.sql("select defvalue from `tabDefaultValue` where defkey=%s and parent=%s", (key, parent))
        return rows[0][0] if rows else None

    def set_default(self, key, value, parent="__default"):
        from . import generate_hash
        from .utils import now
        self.sql("delete from `tabDefaultValue` where defkey=%s and parent=%s", (key, parent))
        self.insert("DefaultValue", {
            "name": generate_hash(length=10), "creation": now(), "modified": now(), "owner": "Administrator",
            "modified_by": "Administrator", "parent": parent, "parenttype": "__default",
            "parentfield": "system_defaults", "defkey": key, "defvalue": value})
