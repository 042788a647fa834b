"""App double: `__Auth`: login hashes, and secrets under the site's encryption_key, made when first needed."""
import base64
import hashlib
import hmac
import secrets

from cryptography.fernet import Fernet, InvalidToken

from .. import AuthenticationError, ValidationError, local

ROUNDS = 29000


def ab64(raw):
    return base64.b64encode(raw).decode().rstrip("=").replace("+", ".")


def unab64(text):
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4))


def hash_password(password):
    """As passlib's pbkdf2_sha256 writes it."""
    salt = secrets.token_bytes(16)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    return f"$pbkdf2-sha256${ROUNDS}${ab64(salt)}${ab64(digest)}"


def verify(password, stored):
    parts = stored.split("$")
    if len(parts) != 5 or parts[1] != "pbkdf2-sha256":
        return False
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), unab64(parts[3]), int(parts[2]))
    return hmac.compare_digest(digest, unab64(parts[4]))


def check_password(user, pwd, doctype="User", fieldname="password"):
    rows = local.db.sql("select name, password from `__Auth` where doctype=%s and name=%s and fieldname=%s "
                        "and encrypted=0", (doctype, user, fieldname))
    if not rows or not verify(pwd, rows[0][1]):
        raise AuthenticationError("Invalid login credentials")
    return rows[0][0]


def store(doctype, name, fieldname, value, encrypted):
    local.db.sql("insert into `__Auth` (doctype, name, fieldname, password, encrypted) values (%s, %s, %s, %s, %s) "
                 "on duplicate key update password=values(password), encrypted=values(encrypted)",
                 (doctype, name, fieldname, value, encrypted))


def update_password(user, pwd, doctype="User", fieldname="password", logout_all_sessions=False):
    store(doctype, user, fieldname, hash_password(pwd), 0)
    if logout_all_sessions:
        local.db.sql("delete from `tabSessions` where user=%s", user)


def set_encrypted_password(doctype, name, pwd, fieldname="password"):
    store(doctype, name, fieldname, encrypt(pwd), 1)


def get_decrypted_password(doctype, name, fieldname="password", raise_exception=True):
    rows = local.db.sql("select password from `__Auth` where doctype=%s and name=%s and fieldname=%s and encrypted=1",
                        (doctype, name, fieldname))
    if rows and rows[0][0]:
        return decrypt(rows[0][0], key=f"{doctype}.{name}.{fieldname}")
    if raise_exception:
        raise AuthenticationError(f"Password not found for {doctype} {name} {fieldname}")
    return None


def delete_all_passwords_for(doctype, name):
    local.db.sql("delete from `__Auth` where doctype=%s and name=%s", (doctype, name))


def encrypt(text, encryption_key=None):
    return Fernet((encryption_key or get_encryption_key()).encode()).encrypt(text.encode()).decode()


def decrypt(token, encryption_key=None, key=None):
    try:
        return Fernet((encryption_key or get_encryption_key()).encode()).decrypt(token.encode()).decode()
    except (InvalidToken, ValueError):
        raise ValidationError((f"Failed to decrypt key {key}\n" if key else "")
                              + "Encryption key is invalid! Please check site_config.json") from None


def get_encryption_key():
    """The site's key. One that is missing is made and written, silently: what was encrypted before stays shut."""
    from ..installer import update_site_config
    if not local.conf.get("encryption_key"):
        key = Fernet.generate_key().decode()
        update_site_config("encryption_key", key)
        local.conf.encryption_key = key
    return local.conf.encryption_key
