"""App double: the older way to store a file."""
import frappe


def save_file(fname, content, dt, dn, folder=None, decode=False, is_private=0, df=None):
    return frappe.get_doc({"doctype": "File", "file_name": fname, "content": content, "decode": decode,
                           "attached_to_doctype": dt, "attached_to_name": dn, "attached_to_field": df,
                           "folder": folder, "is_private": is_private}).insert()
