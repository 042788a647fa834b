"""App double: what single DocTypes add to a document: names, checks, files, passwords, defaults."""
import base64
import hashlib
import os

from . import ValidationError, local, scrub
from .model.document import Document
from .utils.password import update_password


class User(Document):
    def autoname(self):
        self.name = self.name or (self.get("email") or "").strip().lower()

    def validate(self):
        if not self.get("email"):
            self.email = self.name
        self.full_name = " ".join(p for p in (self.get("first_name"), self.get("last_name")) if p) or self.name
        # A user who has no role of the desk is a website user, whatever was asked for.
        desk = any(r.role not in ("All", "Guest") for r in self.roles) or self.name == "Administrator"
        self.user_type = "System User" if desk else "Website User"

    def on_update(self):
        if self.get("new_password"):
            update_password(self.name, self.new_password)
            local.db.set_value("User", self.name, "new_password", None)
            self.new_password = None

    def take_secrets(self):
        password, self.__dict__["new_password"] = self.get("new_password"), None
        secrets = super().take_secrets()
        self.__dict__["new_password"] = password
        return secrets

    def add_roles(self, *roles):
        have = {r.role for r in self.roles}
        for role in roles:
            if role not in have:
                self.append("roles", {"role": role})
        self.save()

    def on_trash(self):
        if self.name in ("Administrator", "Guest"):
            raise ValidationError(f"User {self.name} cannot be deleted")


class SocialLoginKey(Document):
    def autoname(self):
        self.name = scrub(self.provider_name or "")

    def validate(self):
        if self.get("custom_base_url") and not self.get("base_url"):
            raise ValidationError("Please enter Base URL")
        for field in ("authorize_url", "access_token_url", "redirect_url"):
            if not self.get(field):
                raise ValidationError(f"Please enter {field}")
        if self.get("enable_social_login"):
            for field in ("client_id", "client_secret"):
                if not self.get(field):
                    raise ValidationError(f"Please enter {field} before social login is enabled")


class LetterHead(Document):
    def validate(self):
        if self.get("source") == "Image" and self.get("image"):
            self.content = f'<div style="text-align: {self.get("align", "Left").lower()};"><img src="{self.image}"></div>'

    def on_update(self):
        if self.get("is_default"):
            local.db.sql("update `tabLetter Head` set is_default=0 where name!=%s", self.name)
            local.db.set_default("letter_head", self.name)


class SystemSettings(Document):
    def validate(self):
        if self.get("disable_user_pass_login") and not local.db.count("Social Login Key", {"enable_social_login": 1}):
            raise ValidationError("Please enable at least one Social Login Key before disabling username/password login")

    def on_update(self):
        for field in self.meta.valued():
            local.db.set_default(field.fieldname, self.get(field.fieldname))


class File(Document):
    """A file: its body lies in the site folder, under a name that no other body has."""

    def insert(self, **options):
        content = self.__dict__.pop("content", None)
        if isinstance(content, str):
            content = base64.b64decode(content) if self.__dict__.pop("decode", False) else content.encode()
        self.is_private = int(self.get("is_private") or 0)
        if self.get("is_folder"):
            self.name = self.get("folder", "Home") + "/" + self.file_name
        elif content is not None:
            self.store(content)
        elif (self.get("file_url") or "").startswith(("/files/", "/private/files/")):
            self.check_body()
        self.folder = self.get("folder") or ("" if self.name == "Home" else "Home")
        return super().insert(**options)

    def store(self, content):
        self.content_hash, self.file_size = hashlib.md5(content).hexdigest(), len(content)
        same = local.db.get_value("File", {"content_hash": self.content_hash, "is_private": self.is_private},
                                  ["file_url", "file_name"])
        folder = local.site_path + ("/private" if self.is_private else "/public") + "/files/"
        if same:
            self.file_url = same[0]
            return
        name = os.path.basename(self.file_name)
        if os.path.exists(folder + name):
            stem, dot, extension = name.rpartition(".")
            name = f"{stem or extension}{self.content_hash[-6:]}{dot + extension if stem else ''}"
        with open(folder + name, "wb") as f:
            f.write(content)
        self.file_url = ("/private" if self.is_private else "") + "/files/" + name

    def body(self):
        url = self.file_url
        return local.site_path + (url if url.startswith("/private/") else "/public" + url)

    def check_body(self):
        if not os.path.isfile(self.body()):
            raise ValidationError(f"File {self.file_url} does not exist")
        with open(self.body(), "rb") as f:
            content = f.read()
        self.content_hash, self.file_size = hashlib.md5(content).hexdigest(), len(content)

    def get_content(self):
        with open(self.body(), "rb") as f:
            return f.read()

    def on_trash(self):
        if not self.get("is_folder") and local.db.count("File", {"file_url": self.file_url}) == 1:
            if os.path.isfile(self.body()):
                os.remove(self.body())


class Company(Document):
    def validate(self):
        self.abbr = self.get("abbr") or "".join(w[0] for w in self.company_name.split()).upper()
        taken = local.db.get_value("Company", {"abbr": self.abbr, "name": ("!=", self.name)})
        if taken:
            raise ValidationError("Abbreviation already used for another company")


def of(doctype):
    """The class of a DocType's documents."""
    return {"User": User, "Social Login Key": SocialLoginKey, "Letter Head": LetterHead, "File": File,
            "System Settings": SystemSettings, "Company": Company}.get(doctype, Document)
