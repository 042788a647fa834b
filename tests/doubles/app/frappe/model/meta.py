"""App double: what a DocType is, as `tabDocType` and `tabDocField` of this very database say."""
from .. import DoesNotExistError, _dict, local

NO_VALUE = {"Section Break", "Column Break", "Tab Break", "HTML", "Button", "Table", "Table MultiSelect", "Image",
            "Fold", "Heading"}


class Meta:
    """The fields of one DocType."""

    def __init__(self, doctype):
        rows = local.db.sql("select name, issingle, istable, autoname from `tabDocType` where name=%s", doctype,
                            as_dict=True)
        if not rows:
            raise DoesNotExistError(f"DocType {doctype} not found")
        self.name, self.issingle, self.istable = doctype, bool(rows[0].issingle), bool(rows[0].istable)
        self.autoname = rows[0].autoname or ""
        self.fields = local.db.sql(
            "select fieldname, fieldtype, options, reqd, `default` from `tabDocField` where parent=%s order by idx",
            doctype, as_dict=True)
        if local.db.table_exists("Custom Field"):
            self.fields += local.db.sql(
                "select fieldname, fieldtype, options, reqd, `default` from `tabCustom Field` where dt=%s", doctype,
                as_dict=True)

    def get_field(self, fieldname):
        return next((f for f in self.fields if f.fieldname == fieldname), None)

    def has_field(self, fieldname):
        return self.get_field(fieldname) is not None

    def valued(self):
        return [f for f in self.fields if f.fieldtype not in NO_VALUE]

    def tables(self):
        return [f for f in self.fields if f.fieldtype in ("Table", "Table MultiSelect")]

    def passwords(self):
        return [f.fieldname for f in self.fields if f.fieldtype == "Password"]

    def cast(self, fieldname, value):
        """A single's value, stored as text, in the field's own type."""
        field = self.get_field(fieldname) or _dict()
        if field.fieldtype in ("Check", "Int"):
            return int(float(value or 0))
        if field.fieldtype in ("Float", "Currency", "Percent"):
            return float(value or 0)
        return value


def get_meta(doctype):
    if doctype not in local.meta:
        local.meta[doctype] = Meta(doctype)
    return local.meta[doctype]
