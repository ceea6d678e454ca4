"""The words of other workflow engines, and ours for them: each row at work.

``words`` has the tables. The pages of the documentation show them, and ``@shows("page:key")`` says
which row a test is about.
"""
