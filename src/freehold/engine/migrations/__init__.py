"""Migrations: revisions of the tables, planned before they are run, and derived objects made again where they differ.

A revision is a short file that says which operations lead from one state of the tables to the next. `folder` reads the
files, `recording` takes the operations out of one, `steps` turns them into steps with the locks that they take, `execution`
runs these one group at a time and notes each (`undertaking` is its work as values and SQL). `looking` and `inspecting` ask the rows
first; `resuming` takes up what is half done. `structure` and `writing` make a new revision from what the revisions so far
and the declarations differ in; `shadow` makes both really, in a transaction that is rolled back, and `belonging`
tells what is somebody's own. `mending` makes derived
objects again. `work` is all of it together: what the commands call.
"""
