// What Kennel's user may ask of systemd: to start, stop and forget units that are called as Kennel calls them.
polkit.addRule(function (action, subject) {
  if (action.id !== "org.freedesktop.systemd1.manage-units" || subject.user !== "kennel") {
    return polkit.Result.NOT_HANDLED;
  }
  // Builds run as the same user. From version 125 on polkit says which unit asks, where D-Bus tells it.
  if (subject.system_unit && subject.system_unit !== "kennel.service") {
    return polkit.Result.NO;
  }
  var verbs = ["start", "stop", "reset-failed"];
  var units = [
    /^kennel-[a-z0-9-]+--([0-9a-f]{12}|[a-z2-7]{10})\.(service|timer)$/, // services, and their schedules
    /^kennel-build-[0-9]+-[0-9]+\.service$/,
    /^kennel-check\.service$/ // has no program: whether it is refused tells Kennel what it may do
  ];
  var unit = action.lookup("unit");
  var verb = action.lookup("verb");
  if (!unit || verbs.indexOf(verb) < 0) {
    return polkit.Result.NO;
  }
  for (var i = 0; i < units.length; i++) {
    if (units[i].test(unit)) {
      return polkit.Result.YES;
    }
  }
  return polkit.Result.NO;
});
