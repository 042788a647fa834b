#!/bin/bash
# App double: the backend, where the real image runs gunicorn.
cd /home/frappe/frappe-bench/sites || exit 1
exec ../env/bin/python -m frappe.app 8000
