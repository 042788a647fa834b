"""App double: documents: reading, checking, writing, with their rows of child tables and their secrets."""
import datetime

from .. import DoesNotExistError, DuplicateEntryError, LinkValidationError, MandatoryError, ValidationError, _dict, local
from ..database import STANDARD
from ..utils import now
from ..utils.password import delete_all_passwords_for, get_decrypted_password, set_encrypted_password
from .meta import get_meta


def get_doc(*args, **values):
    """A stored document by DocType and name, or a new one from a dict."""
    from .. import controllers
    if len(args) == 1 and isinstance(args[0], dict):
        values = args[0]
    if values:
        doctype = values["doctype"]
        return controllers.of(doctype)(doctype, values)
    doctype = args[0]
    name = args[1] if len(args) > 1 else doctype
    meta = get_meta(doctype)
    if isinstance(name, dict):
        name = local.db.get_value(doctype, name)
    doc = controllers.of(doctype)(doctype, {})
    doc.load(doctype if meta.issingle else name)
    return doc


class Document:
    """One document; its fields are attributes, None where nothing is set."""

    def __init__(self, doctype, values):
        self.__dict__.update(doctype=doctype, name=None, flags=_dict(), meta=get_meta(doctype), new=True)
        for field in self.meta.tables():
            self.__dict__[field.fieldname] = []
        self.update(values)

    def __getattr__(self, name):
        # Reached only for what is not set: a field that exists is None.
        if name.startswith("__") or not (name in STANDARD or self.__dict__["meta"].has_field(name)):
            raise AttributeError(f"'{self.__dict__['doctype']}' object has no attribute '{name}'")
        return None

    def load(self, name):
        if self.meta.issingle:
            values = {k: self.meta.cast(k, v) for k, v in local.db.get_singles_dict(self.doctype).items()}
            values = {**{f.fieldname: self.meta.cast(f.fieldname, None) for f in self.meta.valued()}, **values}
        else:
            rows = local.db.sql(f"select * from `tab{self.doctype}` where name=%s", name, as_dict=True)
            if not rows:
                raise DoesNotExistError(f"{self.doctype} {name} not found")
            values = rows[0]
        self.__dict__.update(values)
        self.__dict__.update(name=values.get("name") or name, new=False)
        for field in self.meta.tables():
            rows = local.db.sql(f"select * from `tab{field.options}` where parent=%s and parenttype=%s and "
                                "parentfield=%s order by idx", (name, self.doctype, field.fieldname), as_dict=True)
            self.__dict__[field.fieldname] = rows

    def reload(self):
        self.load(self.name)
        return self

    def get(self, key, default=None):
        value = self.__dict__.get(key)
        return default if value is None else value

    def set(self, key, value):
        self.__dict__[key] = [_dict(row) for row in value] if key in self.table_names() else value

    def update(self, values):
        for key, value in values.items():
            if key != "doctype":
                self.set(key, value)
        return self

    def append(self, key, row=None):
        row = _dict(row or {})
        self.__dict__[key].append(row)
        return row

    def table_names(self):
        return [f.fieldname for f in self.__dict__["meta"].tables()]

    def is_new(self):
        return self.new

    def as_dict(self):
        fields = [*STANDARD[:7], *(f.fieldname for f in self.meta.valued()), *self.table_names()]
        out = _dict((f, self.__dict__.get(f)) for f in fields)
        out.doctype = self.doctype
        for field in self.meta.passwords():
            out[field] = "*" * len(out[field] or "") or None
        return out

    def get_password(self, fieldname="password", raise_exception=True):
        value = self.__dict__.get(fieldname)
        if value and set(value) != {"*"}:
            return value
        return get_decrypted_password(self.doctype, self.name, fieldname, raise_exception)

    # What a DocType's own class changes.

    def autoname(self):
        """Sets the name where the DocType's own rule is not enough."""

    def validate(self):
        """Refuses or completes what is about to be stored."""

    def on_update(self):
        """Follows a write."""

    def on_trash(self):
        """Comes before a removal."""

    def insert(self, ignore_permissions=False, ignore_if_duplicate=False, ignore_mandatory=False, **_options):
        if self.meta.issingle:
            return self.save()
        for field in self.meta.valued():
            if self.get(field.fieldname) is None and field.default:
                self.set(field.fieldname, self.meta.cast(field.fieldname, default(field)))
        self.set_name()
        if local.db.exists(self.doctype, self.name):
            if ignore_if_duplicate:
                return self
            raise DuplicateEntryError(f"{self.doctype} {self.name} already exists")
        self.__dict__.update(creation=now(), owner=local.session.user, docstatus=self.get("docstatus", 0),
                             idx=self.get("idx", 0))
        return self.write(ignore_mandatory)

    def save(self, ignore_permissions=False, ignore_version=False, **_options):
        if self.new and not self.meta.issingle:
            return self.insert()
        return self.write(False)

    def write(self, ignore_mandatory):
        self.validate()
        self.check(ignore_mandatory or self.flags.get("ignore_mandatory"))
        self.__dict__.update(modified=now(), modified_by=local.session.user)
        secrets = self.take_secrets()
        values = {k: self.__dict__.get(k) for k in [*STANDARD[:7], *(f.fieldname for f in self.meta.valued())]}
        for field in self.meta.valued():
            if field.fieldtype in ("Check", "Int", "Float", "Currency", "Percent"):
                values[field.fieldname] = self.meta.cast(field.fieldname, values[field.fieldname])
        if self.meta.issingle:
            self.write_single(values)
        elif self.new:
            local.db.insert(self.doctype, values)
        else:
            columns = local.db.get_table_columns(self.doctype)
            local.db.set_value(self.doctype, self.name, {k: v for k, v in values.items() if k in columns})
        self.write_tables()
        for field, value in secrets.items():
            set_encrypted_password(self.doctype, self.name, value, field)
        self.new = False
        self.on_update()
        return self

    def write_single(self, values):
        self.__dict__["name"] = self.doctype
        local.db.sql("delete from `tabSingles` where doctype=%s", self.doctype)
        values["name"] = self.doctype
        for field, value in values.items():
            if field not in ("parent", "parentfield", "parenttype"):
                local.db.sql("insert into `tabSingles` (doctype, field, value) values (%s, %s, %s)",
                             (self.doctype, field, None if value is None else str(value)))

    def write_tables(self):
        from .. import generate_hash
        for field in self.meta.tables():
            local.db.sql(f"delete from `tab{field.options}` where parent=%s and parenttype=%s and parentfield=%s",
                         (self.name, self.doctype, field.fieldname))
            for idx, row in enumerate(self.__dict__[field.fieldname], 1):
                row.update(name=row.name or generate_hash(length=10), parent=self.name, parenttype=self.doctype,
                           parentfield=field.fieldname, idx=idx, creation=row.creation or now(), modified=now(),
                           owner=row.owner or local.session.user, modified_by=local.session.user, docstatus=0)
                local.db.insert(field.options, row)

    def take_secrets(self):
        """Takes secrets out of the row: only stars of their length stay in it."""
        found = {}
        for field in self.meta.passwords():
            value = self.__dict__.get(field)
            if value and set(value) != {"*"}:
                found[field] = value
                self.__dict__[field] = "*" * len(value)
        return found

    def set_name(self):
        from .. import generate_hash
        self.autoname()
        rule = self.meta.autoname
        if self.name:
            return
        if rule.startswith("field:"):
            self.name = self.get(rule[6:])
            if not self.name:
                raise ValidationError(f"{rule[6:]} is required")
        elif rule.lower() == "prompt":
            raise ValidationError("please set the document name")
        else:
            self.name = generate_hash(length=10)

    def check(self, ignore_mandatory):
        """The checks that every DocType has: mandatory fields, choices, links."""
        missing = [f.fieldname for f in self.meta.valued() if f.reqd and self.__dict__.get(f.fieldname) in (None, "")]
        if missing and not ignore_mandatory:
            raise MandatoryError(f"[{self.doctype}, {self.name}]: {', '.join(missing)}")
        for field in self.meta.valued():
            value = self.__dict__.get(field.fieldname)
            if value in (None, ""):
                continue
            if field.fieldtype == "Select" and (field.options or "").strip() and "\n" in field.options \
                    and str(value) not in field.options.split("\n"):
                raise ValidationError(f"{field.fieldname} cannot be \"{value}\"")
            if field.fieldtype == "Link" and not self.flags.get("ignore_links") and linked(field.options) \
                    and not local.db.exists(field.options, value):
                raise LinkValidationError(f"Could not find {field.fieldname}: {value}")

    def db_set(self, field, value=None, **_options):
        local.db.set_value(self.doctype, self.name, field, value)
        self.update(field if isinstance(field, dict) else {field: value})

    def delete(self, **_options):
        self.on_trash()
        for field in self.meta.tables():
            local.db.sql(f"delete from `tab{field.options}` where parent=%s and parenttype=%s",
                         (self.name, self.doctype))
        delete_all_passwords_for(self.doctype, self.name)
        local.db.sql(f"delete from `tab{self.doctype}` where name=%s", self.name)


def linked(doctype):
    """Whether this database has the DocType at all: a small one lacks many that fields link to."""
    return bool(doctype) and local.db.table_exists(doctype)


def default(field):
    if field.default in ("Today", "Now"):
        return datetime.date.today().isoformat() if field.default == "Today" else now()
    return None if field.default.startswith(":") else field.default
