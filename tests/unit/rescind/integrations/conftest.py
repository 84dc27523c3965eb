"""A configured Django: Django REST framework reads settings when it is imported."""

from tests.support import django_project

__all__ = ["django_project"]
