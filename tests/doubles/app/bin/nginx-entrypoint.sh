#!/bin/bash
# App double: the frontend, where the real image runs nginx.
cd /home/frappe/frappe-bench/sites || exit 1
exec ../env/bin/python -m frappe.proxy 8080
